"""Whether a model file can be run here, and is what was proved."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

from torchless.doctor.findings import Finding, pip
from torchless.doctor.packages import names_of
from torchless.engine.classifier import Classifier
from torchless.engine.options import ModelOptions
from torchless.errors import ArtifactError, InferenceError, ProofError
from torchless.model.artifact import Artifact, manifest_of
from torchless.model.evidence import Evidence
from torchless.model.manifest import Manifest, ModelInfo, OutputInfo
from torchless.model.missing import command_for
from torchless.model.onnxfile import OnnxFile, read_onnx
from torchless.model.preprocessing import sides_text
from torchless.proof.run import prove
from torchless.text import images_text

_UNUSABLE = ArtifactError.exit_code
# What ONNX Runtime says about a file that is newer than itself: what is too new, and what it supports.
_TOO_NEW = {"IR version": r"max supported IR version: (\d+)", "opset": r"support for domain \S+ is till opset (\d+)"}


def model_findings(path: Path, opening: ModelOptions = ModelOptions()) -> Iterator[Finding]:
    """Needs an onnxruntime, a Pillow and a numpy that can be imported. Reads the whole file, opens it as `opening`
    says, and runs it on the CPU: once, and on the test images that it carries.
    """
    manifest: Manifest | None = None
    try:
        file = read_onnx(path)
        manifest = manifest_of(file)
        classifier = replace(opening, device="cpu", max_gpu_bytes=None).open(file)
        classifier.rank(None, classifier.run(classifier.example())[0], 1)
    except (ArtifactError, InferenceError) as error:
        said = str(error) if isinstance(error, ArtifactError) else f"{path} fails on a black image: {error}"
        yield _too_new(path, error) or Finding(
            check="model",
            message=said,
            fix=_made_again(path, manifest) if os.path.isfile(path) else command_for(path),
            exit_code=_UNUSABLE,
        )
        return
    yield Finding(check="model", message=f"{path} runs: {len(classifier.labels)} classes, {_versions(file)}")
    yield from _trust(classifier.artifact)
    yield from _answers(classifier)


def _versions(file: OnnxFile) -> str:
    return (
        f"opset {', '.join(f'{domain} {version}' for domain, version in file.opsets.items())}, IR version "
        f"{file.ir_version}"
    )


def _too_new(path: Path, error: Exception) -> Finding | None:
    """What to say about a file that needs a newer ONNX Runtime; None if that is not its problem."""
    for what, pattern in _TOO_NEW.items():
        if (newest := re.search(pattern, str(error.__cause__ or ""))) is not None:
            file = read_onnx(path)
            wheel = next(iter(names_of("onnxruntime", list(distributions()))), "onnxruntime")
            return Finding(
                check="model",
                message=f"the installed {wheel} is too old for {path}: it reads {what} {newest[1]} at most, the "
                f"file has {_versions(file)}",
                fix=pip("install", "--upgrade", wheel),
                exit_code=_UNUSABLE,
            )
    return None


def _trust(artifact: Artifact) -> Iterator[Finding]:
    if Manifest.KEY not in artifact.file.metadata:
        yield Finding(check="proof", message="none: the file has no manifest, so what describes it is taken on trust")
        return
    found = artifact.doubts()
    for doubt in found:
        yield Finding(
            check="proof", message=doubt, fix=_made_again(artifact.path, artifact.manifest), exit_code=_UNUSABLE
        )
    if not found:
        yield Finding(check="proof", message="passed the parity gate, and is unchanged since")


def _answers(classifier: Classifier) -> Iterator[Finding]:
    """Whether the file gives PyTorch's answers on this machine, by the evidence inside it."""
    path, own = classifier.artifact.path, classifier.file.metadata
    if Manifest.KEY not in own:
        return
    if Evidence.KEY not in own:
        yield Finding(check="answers", message="not compared with PyTorch's: the file carries none (docs/verify.md)")
        return
    try:
        proof = prove(classifier)
    except ArtifactError as error:
        fix = _made_again(path, classifier.manifest)
        yield Finding(check="answers", message=str(error), fix=fix, exit_code=error.exit_code)
        return
    if set(proof.failed) - {"seal"}:  # which has its own finding
        fix = _made_again(path, classifier.manifest)
        yield Finding(check="answers", message=proof.failure, fix=fix, exit_code=ProofError.exit_code)
    else:
        yield Finding(check="answers", message=f"PyTorch's, on the {images_text(proof.images)} inside the file")


def _made_again(path: Path, manifest: Manifest | None) -> str:
    """The command that makes the file again, on a machine with PyTorch: as it was made, as far as the manifest says.

    A file of a lower precision is made from its float32 file, which is exported first if it is missing.
    """
    if manifest is None or manifest.reduction is None:
        return _export(path, manifest)
    source = path.with_name(manifest.reduction.float_file)
    words = ["torchless", "quantize", str(source), "--precision", manifest.precision]
    words += ["--calibration", "IMAGES"] * (
        manifest.precision == "int8"
    )  # the user's own folder; the manifest does not name it
    words += ["--weight-bits", "7"] * (manifest.reduction.weight_bits == 7)
    quantize = shlex.join([*words, "--output", str(path)])
    return quantize if source.is_file() else f"{_export(source, manifest)} && {quantize}"


def _export(path: Path, manifest: Manifest | None) -> str:
    if manifest is None:
        return command_for(path)
    if manifest.model.source == "module":
        return f"in the script that trained it: torchless_export.export_model(…, output={path.name!r})"
    words = ["torchless", "export", manifest.model.argument, *_origin(manifest.model)]
    words += ["--num-classes", str(len(manifest.labels))] * (
        manifest.model.weights is None and manifest.model.builder is None
    )
    words += _head(manifest.output, said=manifest.model.builder is not None and "activation" not in manifest.assumed)
    words += ["--preprocess-in-graph"] * manifest.input.takes_pixels
    words += ["--topk-in-graph", str(manifest.output.top_k)] * (manifest.output.top_k is not None)
    return shlex.join([*words, "--output", str(path)])


def _head(output: OutputInfo, *, said: bool) -> list[str]:
    thresholds = output.thresholds or ()
    words = ["--activation", output.activation] * (said or output.activation != "softmax")
    return words + ["--threshold", ",".join(f"{each:g}" for each in thresholds)] * bool(thresholds)


def _origin(model: ModelInfo) -> list[str]:
    weights = (
        "none"
        if model.weights is None
        else model.weights
        if model.checkpoint is None and model.source == "torchvision"
        else None
    )
    given: dict[str, object] = {
        "--builder": model.builder,
        "--checkpoint": model.checkpoint,
        "--checkpoint-key": model.checkpoint_key,
        "--weights": weights,
        "--seed": model.seed,
        "--transform-input": "" if model.transform_input else None,
        "--no-transform-input": "" if model.transform_input is False else None,
        "--labels": model.labels_file,
    }
    changes = model.changes
    if changes is not None:
        given |= {
            "--resize": changes.resize.text if changes.resize is not None else None,
            "--crop": sides_text(changes.crop) if changes.crop is not None else None,
            "--channels": changes.channels,
            "--mean": changes.mean,
            "--std": changes.std,
            "--interpolation": changes.interpolation,
        }
    return [word for flag, value in given.items() if value is not None for word in (flag, _text(value)) if word]


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
