"""What identifies a run: its rows are not mixed with those of another model or other options."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchless.errors import UsageError

if TYPE_CHECKING:
    from torchless.engine.classifier import Classifier
    from torchless.image.options import ImageOptions

Identity = dict[str, object]


def run_identity(classifier: "Classifier", model: Path, read: "ImageOptions", **options: object) -> Identity:
    """What must stay the same when a run is resumed, each by the name that a user knows: the model, its labels, how
    images are read, and `options` by their parameters' names.
    """
    from hashlib import sha256

    from torchless.model.artifact import sha256_of

    described = {"the manifest": classifier.manifest.to_json(), "--labels": "\n".join(classifier.labels)}
    run: Identity = {"the model": sha256_of(model)}
    run |= {name: sha256(text.encode()).hexdigest() for name, text in described.items()}
    run |= {"--decode": read.decode, "--exif": read.apply_exif, "--max-megapixels": read.max_pixels / 1e6}
    return run | {f"--{name.replace('_', '-')}": value for name, value in options.items()}


def check_same_run(path: Path, begun: Identity, run: Identity) -> None:
    """Raises UsageError, which names what differs between `run` and the run whose rows are in `path`."""
    differing = [name for name in (*run, *(set(begun) - set(run))) if begun.get(name) != run.get(name)]
    if differing:
        raise UsageError(f"{path} belongs to a run with a different {', '.join(differing)}; give the same, or delete it to start over")
