# The shortest script that does what `infer MODEL.onnx IMAGE` does, with numpy, Pillow and ONNX Runtime.
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
manifest = json.loads(session.get_modelmeta().custom_metadata_map["torchless.manifest"])
spec = manifest["preprocess"]
image = Image.open(sys.argv[2]).convert("RGB")
scale = spec["resize"]["size"][0] / min(image.size)
image = image.resize([int(side * scale) for side in image.size], Image.Resampling.BILINEAR)
left, top = ((side - spec["crop"][0]) // 2 for side in image.size)
pixels = np.asarray(image.crop((left, top, left + spec["crop"][0], top + spec["crop"][0])), dtype=np.float32) / 255
batch = ((pixels - np.float32(spec["mean"])) / np.float32(spec["std"])).transpose(2, 0, 1)[None]
logits = session.run(None, {session.get_inputs()[0].name: batch})[0][0]
probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for index in np.argsort(-logits)[:5]:
    print(f"{probabilities[index]:.2%} {manifest['labels'][index]}")
