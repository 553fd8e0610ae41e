"""What a model is, in four lines, and what of it was assumed because the exporting user did not say it.

`torchless export` ends with them, `torchless inspect` and `infer --explain` show them.
"""

from collections.abc import Iterator

from torchless.model.manifest import Assumption, Manifest
from torchless.model.preprocessing import Preprocess, PreprocessChanges
from torchless.text import printable

ASSUMED = "[assumed]"
_LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "Hugging Face"}
NAME_WIDTH = len("architecture")

_ADVICE: dict[Assumption, str] = {
    "architecture": "a checkpoint holds no strides, pooling or activations; if yours differ, export the network itself",
    "transform": "",
    "activation": "if your network ends otherwise, give `activation`: softmax, sigmoid or none",
    "labels": "give `labels` if your classes are others",
}


def explanation(manifest: Manifest) -> str:
    """Four lines: architecture, transform, activation, labels. Below each that was assumed, a line says what to do.

    They name parameters in backticks.
    """
    return "\n".join(f"{name:<{NAME_WIDTH}} {text}" for name, text in explained(manifest))


def explained(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The same as pairs of a line's name, "" for one that goes on, and its text."""
    texts: dict[Assumption, str] = {
        "architecture": _marked(_architecture(manifest), "architecture" in manifest.assumed),
        "transform": _transform(manifest),
        "activation": _marked(_activation(manifest), "activation" in manifest.assumed),
        "labels": _marked(_labels(manifest), "labels" in manifest.assumed),
    }
    for name, text in texts.items():
        yield name, printable(text)
        if name in manifest.assumed:
            yield "", f"assumed: {_transform_advice(manifest) if name == 'transform' else _ADVICE[name]}"


def assumed_steps(spec: Preprocess, changes: PreprocessChanges | None) -> list[str]:
    """The steps of `spec`, by their names in Preprocess.steps, that `changes` do not say."""
    given = changes or PreprocessChanges()
    said = {name for name in ("resize", "crop", "mean", "std", "interpolation") if getattr(given, name) is not None}
    if given.resize is not None and given.resize.mode == "exact":
        said.add("crop")  # which then is none
    return [name for name in spec.steps if name not in said and name != "channels"]


def _marked(text: str, is_assumed: bool) -> str:
    return f"{text} {ASSUMED}" if is_assumed else text


def _architecture(manifest: Manifest) -> str:
    model = manifest.model
    match model.source:
        case "module":
            return f"the live network {model.weights}"
        case "builder":
            weights = f", with the weights of {model.checkpoint}" if model.checkpoint else ""
            return f"as {model.builder} builds it{weights}"
        case "unknown":
            return "as in the ONNX file, which does not say where it comes from"
    network = f"{_LIBRARIES[model.source]}'s {model.name}"
    if model.checkpoint is None:
        return f"{network}, {f'weights {model.weights}' if manifest.is_trained else 'random weights'}"
    if model.transform_input is not None:
        network += f" {'with' if model.transform_input else 'without'} transform_input"
    return f"{network}, rebuilt from the shapes in {model.checkpoint}"


def _transform(manifest: Manifest) -> str:
    assumed = _assumed(manifest)
    return ", ".join(_marked(text, name in assumed) for name, text in manifest.preprocess.steps.items())


def _assumed(manifest: Manifest) -> list[str]:
    """A checkpoint's transform is that of the default weights; a live network's was given, all but grey images."""
    if "transform" not in manifest.assumed:
        return []
    return (
        assumed_steps(manifest.preprocess, manifest.model.changes)
        if manifest.model.source in _LIBRARIES
        else ["channels"]
    )


def _transform_advice(manifest: Manifest) -> str:
    steps = _assumed(manifest)
    if steps == ["channels"]:
        return "the network takes one channel, so images are opened as grey (Pillow's mode L) before the transform"
    flags = ", ".join(f"`{name}`" for name in steps)
    library = _LIBRARIES.get(manifest.model.source, "torchvision")
    return f"from {library}'s default weights; give {flags} if you trained otherwise"


def _activation(manifest: Manifest) -> str:
    output = manifest.output
    text = {
        "softmax": "softmax: an image has one class",
        "sigmoid": "sigmoid: each class is decided by itself, or one output decides between two",
        "none": "none: the graph gives probabilities",
    }[output.activation]
    if output.thresholds is None:
        return text
    low, high = min(output.thresholds), max(output.thresholds)
    return f"{text}; present from {low:g}{f' to {high:g}, by class' * (low < high)}"


def _labels(manifest: Manifest) -> str:
    labels, model = manifest.labels, manifest.model
    named = repr(labels[0]) if len(labels) == 1 else f"{labels[0]!r} … {labels[-1]!r}"
    if model.labels_file is not None:
        source = f"from {model.labels_file}"
    elif model.checkpoint is not None and model.source in _LIBRARIES and "labels" not in manifest.assumed:
        source = f"from {model.checkpoint}"
    elif model.source in _LIBRARIES:
        source = f"those of {_LIBRARIES[model.source]}'s weights"
    else:
        source = {"builder": f"from {model.builder}", "module": "given with the network"}.get(model.source, "given")
    return f"{len(labels)}: {named}, {source}"
