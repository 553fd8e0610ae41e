"""The server under load: python -m gpu_proof.served MODEL.onnx DEVICE SECONDS CLIENTS… Prints JSON, a row for each."""

import json
import sys
from importlib import import_module
from pathlib import Path

from gpu_proof.settings import ROOT

sys.path.insert(0, str(ROOT / "bench"))


def main(model: str, device: str, seconds: str, *clients: str) -> None:
    """With the clients of bench/clients.py, which check each answer."""
    serve = import_module("serve")
    from torchless.bench import made_up_jpeg
    from torchless.engine.classifier import Classifier

    images = [made_up_jpeg(seed) for seed in range(16)]
    classifier = Classifier(model, device=device)
    wanted = [classifier.classify(image, top_k=1).predictions[0] for image in images]
    requests = [serve.as_request(image) for image in images]
    with serve.server("torchless", Path(model), "--device", device, "--max-queue", "512") as (port, _):
        serve.put_load(port, 4, min(2.0, float(seconds)), requests, wanted)
        rows = [
            {"clients": count, **serve.put_load(port, count, float(seconds), requests, wanted).to_dict()}
            for count in map(int, clients)
        ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
