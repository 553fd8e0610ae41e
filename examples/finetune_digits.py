"""Fine-tunes a torchvision model on scikit-learn's handwritten digits, and exports it as it is.

    python examples/finetune_digits.py digits
    infer digits/digits.onnx digits/test --format jsonl --top-k 1 --output digits/infer.jsonl
    torchless evaluate digits/digits.onnx digits/test.csv --confusion-matrix digits/confusion.png --json

It takes two or three minutes on two processors. The folder then holds the model, the images of the test set as PNG
files, their true labels in test.csv, and PyTorch's answer to each of them in pytorch.jsonl, to compare with infer's and
evaluate's. It also holds what there is after any training, a checkpoint and its labels: without the script, say how it
prepares images, and let its answers prove that this is right.

    torchless export shufflenet_v2_x1_0 --checkpoint digits/checkpoint.pth --labels digits/labels.txt \
        --resize 64 --crop 64 --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 \
        --expect digits/pytorch.jsonl --output digits/from-checkpoint.onnx
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torchvision.transforms._presets import ImageClassification

from torchless_export import export_model

MODEL, CLASSES, EPOCHS, BATCH_SIZE = "shufflenet_v2_x1_0", 10, 12, 64
LABELS = [f"digit {number}" for number in range(CLASSES)]
TRANSFORM = ImageClassification(crop_size=64, resize_size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def write_images(folder: Path) -> tuple[list[Path], list[int]]:
    """The 1,797 digits as PNG files of 8×8 grey pixels; their paths and classes, shuffled."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    paths = []
    for number in order:
        part = "test" if len(paths) >= 1437 else "train"
        path = folder / part / f"{digits.target[number]}_{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * (255 / 16)).round().astype(np.uint8)).save(path)
        paths.append(path)
    return paths, [int(digits.target[number]) for number in order]


def load(paths: list[Path]) -> torch.Tensor:
    """The files as the network takes them, (N, 3, 64, 64) float32."""
    return torch.stack([TRANSFORM(Image.open(path).convert("RGB")) for path in paths])


def train(images: torch.Tensor, targets: torch.Tensor, epochs: int) -> nn.Module:
    """Starts from torchvision's own initial weights; with access to its pretrained ones, pass weights="DEFAULT" and
    replace the head.
    """
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.get_model(MODEL, weights=None, num_classes=CLASSES)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * -(-len(images) // BATCH_SIZE))
    for epoch in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH_SIZE):
            loss = nn.functional.cross_entropy(network(images[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"epoch {epoch + 1} of {epochs}: loss {loss.item():.3f}", file=sys.stderr)
    return network.eval()


def write_answers(network: nn.Module, folder: Path, paths: list[Path]) -> torch.Tensor:
    """Writes PyTorch's answer to each image, as `torchless export --expect` reads them; returns the classes, (N,)."""
    with torch.inference_mode():
        logits = network(load(paths))
    with (folder / "pytorch.jsonl").open("w") as file:
        for path, row in zip(paths, logits, strict=True):
            answer = {
                "image": str(path.relative_to(folder)),
                "logits": row.tolist(),
                "probabilities": row.softmax(dim=0).tolist(),
                "label": LABELS[int(row.argmax())],
            }
            file.write(json.dumps(answer) + "\n")
    return logits.argmax(dim=1)


def main() -> None:
    """The arguments are the folder to write to and, if it should not be EPOCHS, the number of epochs."""
    folder, epochs = Path(sys.argv[1]), int((sys.argv[2:] or [EPOCHS])[0])
    paths, classes = write_images(folder)
    tested, targets = paths[1437:], torch.tensor(classes)
    network = train(load(paths[:1437]), targets[:1437], epochs)
    correct = (write_answers(network, folder, tested) == targets[1437:]).float().mean().item()
    print(f"{correct * 100:.1f} % of {len(tested)} test images right", file=sys.stderr)
    torch.save({"model": network.state_dict(), "epoch": epochs}, folder / "checkpoint.pth")
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    rows = [f"test/{path.name},{LABELS[number]}\n" for path, number in zip(tested, classes[1437:], strict=True)]
    (folder / "test.csv").write_text("image,label\n" + "".join(rows))
    print(
        export_model(
            network,
            transform=TRANSFORM,
            labels=LABELS,
            activation="softmax",
            output=folder / "digits.onnx",
            expect=folder / "pytorch.jsonl",
        )
    )


if __name__ == "__main__":
    main()
