"""torchvision's classifiers and the names of their weights, read from its source: importing it takes seconds, and who
mistypes a name should hear of it at once.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from torchless_export.errors import UnknownModelError

_BUILDERS = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\([^)]*?weights: (?:Optional\[)?(\w+)", re.MULTILINE)
_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:    .*\n|\n)*)", re.MULTILINE)
_MEMBER = re.compile(r"^    (\w+) = ", re.MULTILINE)


@cache
def offered() -> Mapping[str, tuple[str, ...]]:
    """Each classifier's weights: DEFAULT and the others. Empty where torchvision is not installed or is written
    otherwise.
    """
    spec = find_spec("torchvision")
    folder = Path(str(spec.origin)).parent / "models" if spec is not None else None
    sources = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")] if folder is not None else []
    weights = {name: tuple(_MEMBER.findall(body)) for text in sources for name, body in _WEIGHTS.findall(text)}
    return {name: weights.get(kind, ()) for text in sources for name, kind in _BUILDERS.findall(text)}


def check_offered(model: str, weights: str | None = None) -> None:
    """Raises UnknownModelError for a name of a model, or of its weights, that torchvision does not have."""
    names = offered()
    if names:
        check_name(model, names)
    if weights is not None and names.get(model):
        check_weights(model, weights, names[model])


def check_name(model: str, names: Collection[str]) -> None:
    """Raises UnknownModelError with the nearest of `names`, those of torchvision's classifiers."""
    if model in names:
        return
    near = get_close_matches(model.lower(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "torchless models lists them"
    raise UnknownModelError(f"torchvision has no classifier {model!r}; {hint}")


def check_weights(model: str, weights: str, names: Collection[str]) -> None:
    """Raises UnknownModelError for what is none of `names`, those of the model's weights."""
    if weights not in names:
        raise UnknownModelError(f"{model} has no weights {weights!r}; it has {', '.join(names)} (or none)")
