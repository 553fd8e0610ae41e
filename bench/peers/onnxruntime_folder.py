# Bare ONNX Runtime over a folder, one image after the other: what its memory is compared with.
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
name = session.get_inputs()[0].name
for path in sorted(Path(sys.argv[2]).iterdir()):
    pixels = np.asarray(Image.open(path).convert("RGB").resize((224, 224)), dtype=np.float32)
    session.run(None, {name: (pixels.transpose(2, 0, 1)[None] / 255 - 0.45) / np.float32(0.225)})
