"""The servers that bench/serve.py compares torchless with, written as their own documentation has it.

    python bench/serve_peers.py fastapi-torch MODEL.onnx PORT

All take a multipart form with one file `image`, and answer JSON with the most probable class first. PyTorch's network
is the one that MODEL.onnx was exported from; the ONNX Runtime variants prepare images with torchless's own code, so
that only the serving differs.
"""

import sys
from pathlib import Path
from typing import Any

import litserve as ls
import numpy as np
from fastapi import Request

from torchless import Classifier
from torchless.cpus import available_cpus

MAX_BATCH_SIZE = 8


class TorchModel:
    """torchvision's network and transform, PyTorch's defaults for threads."""

    def __init__(self, path: Path) -> None:
        import torch

        from torchless_export.sources.load import load
        from torchless_export.sources.request import ModelRequest

        self._torch = torch
        manifest = Classifier(path, device="cpu").manifest
        self._loaded = load(
            ModelRequest(model=manifest.model.name, weights="none" if manifest.model.weights is None else "DEFAULT")
        )

    def decode(self, data: bytes) -> Any:
        import io

        from PIL import Image

        return self._loaded.transform(Image.open(io.BytesIO(data)).convert("RGB"))

    def run(self, batch: list[Any]) -> list[list[float]]:
        with self._torch.inference_mode():
            return self._loaded.module(self._torch.stack(batch)).softmax(1).tolist()


class OnnxModel:
    """ONNX Runtime on all processors, which is its default, or on `threads`."""

    def __init__(self, path: Path, threads: int | None) -> None:
        self._classifier = Classifier(path, device="cpu", threads=threads)

    def decode(self, data: bytes) -> Any:
        return self._classifier.preprocess(data)

    def run(self, batch: list[Any]) -> list[list[float]]:
        return self._classifier.run(np.stack(batch)).tolist()


def answer(row: list[float]) -> dict[str, Any]:
    best = int(np.argmax(row))
    return {"predictions": [{"index": best, "score": row[best]}]}


def fastapi_torch(path: Path, port: int) -> None:
    import uvicorn
    from fastapi import FastAPI, UploadFile

    model, app = TorchModel(path), FastAPI()

    @app.post("/classify")
    def classify(image: UploadFile) -> dict[str, Any]:
        return answer(model.run([model.decode(image.file.read())])[0])

    uvicorn.run(app, port=port, log_level="warning")


class LitServeApi(ls.LitAPI):
    """At the top of a module, because LitServe pickles it for its worker processes."""

    def __init__(self, path: Path, kind: str, threads: int | None) -> None:
        super().__init__(max_batch_size=MAX_BATCH_SIZE, batch_timeout=0.005, api_path="/classify")
        self._path, self._kind, self._threads = path, kind, threads

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        self._model = TorchModel(self._path) if self._kind == "torch" else OnnxModel(self._path, self._threads)

    def decode_request(self, request: Request) -> Any:
        return self._model.decode(request["image"].file.read())

    def predict(self, inputs: Any) -> Any:
        return self._model.run(list(inputs))

    def encode_response(self, output: Any) -> dict[str, Any]:
        return answer(output)


def litserve(path: Path, port: int, kind: str, workers: int, threads: int | None) -> None:
    server = ls.LitServer(
        LitServeApi(path, kind, threads), accelerator="cpu", workers_per_device=workers, timeout=120, fast_queue=True
    )
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", access_log=False)


PEERS: dict[str, Any] = {
    "fastapi-torch": fastapi_torch,
    "litserve-torch": lambda path, port: litserve(path, port, "torch", 1, None),
    "litserve-onnxruntime": lambda path, port: litserve(path, port, "onnx", 1, None),
    "litserve-onnxruntime-processes": lambda path, port: litserve(path, port, "onnx", available_cpus(), 1),
}

if __name__ == "__main__":
    PEERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
