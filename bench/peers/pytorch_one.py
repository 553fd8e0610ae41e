# The same with PyTorch and torchvision, as the tutorial does it: python bench/peers/pytorch_one.py MODEL.onnx IMAGE
import sys
from pathlib import Path

import torch
from network import network
from PIL import Image
from torchvision.models import get_model_weights

weights = get_model_weights(Path(sys.argv[1]).stem).DEFAULT
module = network(Path(sys.argv[1]))
batch = weights.transforms()(Image.open(sys.argv[2]).convert("RGB"))[None]
with torch.inference_mode():
    values, classes = module(batch).softmax(1)[0].topk(5)
for probability, index in zip(values.tolist(), classes.tolist(), strict=True):
    print(f"{probability:.2%} {weights.meta['categories'][index]}")
