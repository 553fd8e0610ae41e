"""What a good PyTorch user writes for a folder: a DataLoader with workers, batches, channels-last, inference mode.

python bench/peers/pytorch_folder.py MODEL.onnx FOLDER OUTPUT.jsonl     the network that MODEL.onnx was exported from
"""

import json
import sys
from pathlib import Path

import torch
from network import network
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms._presets import ImageClassification

from torchless.model.artifact import read_artifact  # for the labels and the sizes alone

WORKERS, BATCH_SIZE = 2, 16


class Photos(Dataset):
    def __init__(self, folder: Path, transform: ImageClassification) -> None:
        self.paths, self.transform = sorted(folder.glob("*.jpg")), transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor]:
        return str(self.paths[index]), self.transform(Image.open(self.paths[index]).convert("RGB"))


def main(artifact: str, folder: str, output: str) -> None:
    manifest = read_artifact(artifact).manifest
    spec = manifest.preprocess
    transform = ImageClassification(
        crop_size=spec.crop[0], resize_size=spec.resize.size[0], mean=spec.mean, std=spec.std
    )
    module = network(Path(artifact)).to(memory_format=torch.channels_last)
    with Path(output).open("w") as out, torch.inference_mode():
        for names, batch in DataLoader(Photos(Path(folder), transform), batch_size=BATCH_SIZE, num_workers=WORKERS):
            values, classes = module(batch.to(memory_format=torch.channels_last)).softmax(1).topk(5)
            for name, probabilities, indices in zip(names, values.tolist(), classes.tolist(), strict=True):
                top = [
                    {"index": i, "label": manifest.labels[i], "probability": p}
                    for i, p in zip(indices, probabilities, strict=True)
                ]
                out.write(json.dumps({"image": name, "predictions": top, "error": None}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
