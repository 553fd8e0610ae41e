"""What identifies a run: its rows are not mixed with those of another model or other options."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.errors import UsageError

if TYPE_CHECKING:
    from torchless.engine.classifier import Classifier
    from torchless.image.options import ImageOptions

Identity = dict[str, object]


def run_identity(classifier: "Classifier", model: Path, read: "ImageOptions", **options: object) -> Identity:
    """What must stay the same when a run is resumed: the model, its labels and thresholds, how images are `read`, and
    other options by their names.
    """
    from torchless.model.artifact import sha256_of

    labels, manifest = "\n".join(classifier.labels), classifier.manifest.to_json()
    hashes = {"the model": sha256_of(model), "the manifest": _sha256(manifest), "labels": _sha256(labels)}
    thresholds = classifier.head.thresholds
    head = {"threshold": _sha256(repr(thresholds))} if thresholds is not None else {}
    # Lists, as JSON gives them back.
    images = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(read).items()}
    return hashes | head | images | options


def check_same_run(path: Path, begun: Identity, run: Identity) -> None:
    """Raises UsageError, which names what differs between `run` and the run whose rows are in `path`."""
    differing = [name for name in (*run, *(set(begun) - set(run))) if begun.get(name) != run.get(name)]
    if differing:
        names = ", ".join(f"`{name}`" if name.isidentifier() else name for name in differing)
        raise UsageError(f"{path} belongs to a run with a different {names}; give the same, or delete it to start over")


def _sha256(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()
