"""Whatever a model and its files are called, nothing of it moves the cursor or passes for a line of ours."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import skimage
from tests import onnx_model

from torchless.model.inspection import LAYERS_KEY
from torchless.model.manifest import Manifest
from torchless.model.seal import SEAL_KEY

Run = Callable[..., tuple[int, str, str]]
FORGED = "FORGED: parity passed"
HOSTILE = f"x\n{FORGED}\r\x1b[2J\x9b1A\u202ey"
# What the file needs as it is: names of the graph, and what has few values.
_KEPT = {
    "activation",
    "assumed",
    "channels",
    "dtype",
    "interpolation",
    "mode",
    "precision",
    "rounding",
    "rule",
    "scale",
    "source",
}
_KEPT |= {"centering", "input", "name of the output", "set"}


def poisoned(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: poisoned(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner, key) for inner in value]
    return value + HOSTILE if isinstance(value, str) and key not in _KEPT else value


@pytest.fixture
def hostile(tiny: Path, tmp_path: Path) -> Path:
    """The tiny artifact, with such text wherever it can be."""
    model = onnx_model.load(tiny)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    document = json.loads(metadata[Manifest.KEY])
    kept = {name: document[name] for name in ("input", "preprocess")} | {"output": document["output"]}
    document = poisoned(document) | kept
    document["model"] |= {"url": HOSTILE, "checkpoint": HOSTILE, "labels_file": HOSTILE, "builder": HOSTILE}
    layers = poisoned(json.loads(metadata[LAYERS_KEY]))
    others = {key: text for key, text in metadata.items() if key not in (Manifest.KEY, LAYERS_KEY, SEAL_KEY)}
    onnx_model.set_metadata(model, others | {Manifest.KEY: json.dumps(document), LAYERS_KEY: json.dumps(layers)})
    model.producer_name = HOSTILE
    folder = tmp_path / f"folder{HOSTILE.replace('/', '')}"
    folder.mkdir()
    return onnx_model.save_sealed(model, folder / "m\x1b[2J.onnx")


def harmless(text: str) -> None:
    controls = {
        character for character in text if unicodedata.category(character) in ("Cc", "Cf") and character != "\n"
    }
    assert not controls
    assert not [line for line in text.splitlines() if line.startswith(FORGED)]


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "MODEL"],
        ["doctor", "MODEL"],
        ["verify", "MODEL"],
        ["infer", "MODEL", "PHOTO", "--explain", "--top-k", "5"],
        ["infer", "MODEL", "PHOTOS", "--format", "csv"],
        ["infer", "MODEL", "PHOTOS", "--format", "jsonl"],
        ["inspect", "MODEL", "--json"],
        ["evaluate", "MODEL", "PHOTOS"],
    ],
    ids=lambda words: " ".join(words),
)
def test_names_do_no_harm_on_a_terminal(command_line: Run, hostile: Path, tmp_path: Path, words: list[str]) -> None:
    photo = Path(skimage.data_dir) / "coffee.png"
    photos = tmp_path / "photos" / f"three{HOSTILE}"
    photos.mkdir(parents=True)
    (photos / f"a{HOSTILE}.png").write_bytes(photo.read_bytes())
    (photos / f"b{HOSTILE}.png").write_bytes(b"no image")
    given = {
        "MODEL": hostile,
        "PHOTO": photos / f"a{HOSTILE}.png",
        "PHOTOS": photos.parent if "evaluate" in words else photos,
    }
    program = [] if words[0] == "infer" else ["torchless"]
    _, out, err = command_line(*program, *(given.get(word, word) for word in words))
    assert out
    harmless(out)
    harmless(err)
