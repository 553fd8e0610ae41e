"""From a checkpoint to a network: torchvision's, changed as the file shows, or a builder's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from torch import nn

from torchless_export.errors import WeightsError
from torchless_export.sources import architectures
from torchless_export.sources.heads import Head, UnknownHeadError, describe, rebuild
from torchless_export.sources.hints import Case, check_kinds, misfit, only_the_head
from torchless_export.sources.locate import (
    Located,
    candidates_in,
    check_left,
    left_out,
    locate,
    locate_in_order,
    nearest,
    with_head_beside,
)
from torchless_export.sources.tensors import load_into, tensors_of


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A network with the weights of a checkpoint, and how many `channels` its images have. `notes` tell the user what
    was chosen, rebuilt and left out; `assumed` is True where part of the network had to be guessed.
    """

    module: nn.Module
    channels: Literal[1, 3]
    notes: tuple[str, ...]
    assumed: bool


def fit(
    name: str,
    path: Path,
    *,
    key: str | None,
    image_size: int,
    num_classes: int | None = None,
    transform_input: bool = True,
) -> Fitted:
    """torchvision's network `name`, changed as the checkpoint shows, with its weights. `key` chooses among several
    state dicts in the file; `num_classes`, if given, must be the file's. `transform_input` is for GoogLeNet and
    Inception: True where they began as torchvision's pretrained weights.

    Raises WeightsError for a file that cannot be read, and where something does not fit or cannot be known: it names
    that, and the way out.
    """
    case = Case(name, image_size, candidates_in(path, key, architectures.layout(name, image_size=image_size).shapes))
    located = _locate(case)
    check_left(located, path, name)
    channels = _channels(case, located)
    classes = num_classes or case.classes(located.head)
    module = architectures.build(
        name, image_size=image_size, num_classes=classes, channels=channels, transform_input=transform_input
    )
    head = case.layout.head
    tensors, notes, assumed = located.head, located.notes, located.assumed
    if case.classes(tensors) is None:
        rebuilt = _rebuild(case, module, located)
        if num_classes not in (None, rebuilt.classes):
            raise WeightsError(f"the checkpoint {path} has {rebuilt.classes} classes, not {num_classes}")
        setattr(module, head, rebuilt.module)
        tensors, notes = rebuilt.tensors, (*notes, _rebuilt_note(head, rebuilt))
        assumed = assumed or bool(rebuilt.taken)
    load_into(module, located.own | {f"{head}.{key}": value for key, value in tensors.items()}, path)
    if channels == 1:
        notes = (*notes, f"the first convolution takes grey images, as in {path.name}")
    return Fitted(
        module=module, channels=channels, notes=(*notes, *left_out(located, case.candidates)), assumed=assumed
    )


def fill(module: nn.Module, path: Path, *, key: str | None) -> tuple[str, ...]:
    """Loads the checkpoint into a network of the user's, in place, and returns what to tell the user. Raises
    WeightsError for a file that cannot be read or does not fit.
    """
    wanted = {name: tuple(value.shape) for name, value in tensors_of(module).items()}
    candidates = candidates_in(path, key, wanted)
    located = locate(candidates, wanted)
    if located is None or located.surplus:
        check_kinds(candidates)
        load_into(module, nearest(candidates, wanted).own, path)  # says what does not fit
        return ()
    check_left(located, path, type(module).__name__)
    load_into(module, located.own, path)
    return (*located.notes, *left_out(located, candidates))


def classes_in(module: nn.Module, head: str | None, path: Path, *, key: str | None) -> int | None:
    """How many classes the checkpoint of a network like `module` has, whose classifier is the layer `head`; None where
    that cannot be seen.
    """
    wanted = {name: tuple(value.shape) for name, value in tensors_of(module).items()}
    located = locate(candidates_in(path, key, wanted), wanted, head) if head is not None else None
    weight = located.head.get("weight") if located is not None else None
    return len(weight) if weight is not None else None


def _locate(case: Case) -> Located:
    """The network's tensors, which fit but for the classifier and the number of channels."""
    found = locate(case.candidates, case.layout.shapes, case.layout.head)
    if found is None:
        found = locate_in_order(case.candidates, case.layout)
    if (
        found is None
        or found.surplus
        or not all(case.layout.allows(key, tuple(value.shape)) for key, value in found.own.items())
    ):
        raise misfit(case, found.reading if found is not None else nearest(case.candidates, case.layout.shapes))
    return with_head_beside(found)


def _channels(case: Case, located: Located) -> Literal[1, 3]:
    channels = located.own[case.layout.first].shape[1]
    if channels not in (1, 3):
        raise WeightsError(
            f"{case.candidates.path} is of a network for images of {channels} channels; torchless prepares images of "
            "three, or of one"
        )
    return cast(Literal[1, 3], channels)


def _rebuild(case: Case, module: nn.Module, located: Located) -> Head:
    head = case.layout.head
    if not located.head:
        raise WeightsError(
            f"the checkpoint {case.candidates.path} fits {case.name}, but has no classifier: no names below {head}"
        )
    try:
        return rebuild(module.get_submodule(head), located.head, head)
    except UnknownHeadError as error:
        raise only_the_head(case, located, str(error)) from error


def _rebuilt_note(name: str, head: Head) -> str:
    note = f"rebuilt {name} as {describe(head.module)}"
    if not head.taken:
        return note
    return (
        f"{note}. A file does not hold layers without weights; it is taken for granted that {', '.join(head.taken)}. "
        "If it was trained otherwise, use `builder`"
    )
