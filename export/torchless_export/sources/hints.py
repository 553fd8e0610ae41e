"""What to say about a checkpoint that does not fit: the cause, and the way out."""

import math
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from torchless_export.errors import WeightsError
from torchless_export.sources import architectures, sketch
from torchless_export.sources.architectures import Layout
from torchless_export.sources.catalog import model_names
from torchless_export.sources.checkpoint import Reading, State, is_counter
from torchless_export.sources.heads import nested
from torchless_export.sources.locate import Candidates, Located, locate
from torchless_export.sources.tensors import check_kind, mismatches

_POSITIONS = "encoder.pos_embedding"  # of ViT: one for each patch, and one for the class token
_NEARLY = 0.8  # the part of a network that has to fit for a message to say that the rest of it does


@dataclass(frozen=True)
class Case:
    """A checkpoint that is to be torchvision's network `name` for images of `image_size` pixels."""

    name: str
    image_size: int
    candidates: Candidates

    @cached_property
    def layout(self) -> Layout:
        """torchvision's own, with its own number of classes."""
        return architectures.layout(self.name, image_size=self.image_size)

    def classes(self, head: State) -> int | None:
        """The number of classes, if these are the tensors of torchvision's classifier but for that number."""
        own = {name: shape for name, shape in self.layout.shapes.items() if name not in self.layout.body}
        given = {f"{self.layout.head}.{name}": tuple(value.shape) for name, value in head.items()}
        last = list(own)[-1]
        if given.keys() != own.keys() or not given[last]:
            return None
        classes = given[last][0]
        wanted = architectures.layout(self.name, image_size=self.image_size, num_classes=classes).shapes
        return classes if all(wanted[name] == shape for name, shape in given.items()) else None


def check_kinds(candidates: Candidates) -> None:
    """Raises WeightsError if any tensor of the file is of a kind that cannot be loaded."""
    for found in candidates.state_dicts:
        check_kind({f"{found.key}.{name}": value for name, value in found.tensors.items()}, candidates.path)


def misfit(case: Case, reading: Reading) -> WeightsError:
    """The error for a checkpoint whose network is not torchvision's. Raises it too, for tensors that nothing fits."""
    check_kinds(case.candidates)
    below = f"{case.layout.head}."
    head = {name[len(below) :]: value for name, value in reading.own.items() if name.startswith(below)}
    classes = case.classes(head)
    wanted = architectures.layout(case.name, image_size=case.image_size, num_classes=classes).shapes
    return WeightsError(
        f"the checkpoint {case.candidates.path} does not fit {case.name}: {mismatches(reading.own, wanted)}. "
        f"{_hint(case, reading.own, head, classes)}"
    )


def only_the_head(case: Case, located: Located, reason: str) -> WeightsError:
    """The error for a classifier that cannot be rebuilt, with a builder to paste."""
    way = "`builder` takes the network as it was trained"  # whose names are the file's, not torchvision's
    if not located.assumed:
        way = _paste(case, _changes(case, located.own, located.head, None), None)
    return WeightsError(
        f"the checkpoint {case.candidates.path} fits {case.name}, only the head differs: {reason}. {way}"
    )


def _hint(case: Case, own: State, head: State, classes: int | None) -> str:
    unfit = [name for name in case.layout.body if not is_counter(name) and not _fits(case.layout, own, name)]
    if unfit == [_POSITIONS] and own.get(_POSITIONS) is not None and own[_POSITIONS].ndim == 3:
        side = round(math.sqrt(own[_POSITIONS].shape[1] - 1)) * case.layout.shapes[case.layout.first][-1]
        return f"Its position embeddings are for images of {side} pixels: try `crop` {side}"
    if fitting := _models_that_fit(case.candidates):
        return f"It fits {' or '.join(fitting)}: name that model"
    if len(unfit) > (1 - _NEARLY) * len(case.layout.body):
        return "It fits none of torchvision's models; `builder` takes any other"
    changes = _changes(case, own, head, classes) or ["# change it here as you did before training"]
    return f"Everything else fits. {_paste(case, changes, classes)}"


def _fits(layout: Layout, own: State, name: str) -> bool:
    return name in own and layout.allows(name, tuple(own[name].shape))


def _models_that_fit(candidates: Candidates) -> list[str]:
    """torchvision's models that these are but for the classifier, ViT's image size and the number of channels."""
    found = []
    for name in model_names():
        layout = architectures.layout(name)
        located = locate(candidates, layout.shapes, layout.head)
        if located is None or located.surplus:
            continue
        if all(key == _POSITIONS or _fits(layout, located.own, key) for key in located.own):
            found.append(name)
    return found


def _changes(case: Case, own: State, head: State, classes: int | None) -> list[str]:
    """The lines that give torchvision's network the convolutions and the classifier of the file."""
    module = architectures.without_memory(case.name, image_size=case.image_size)
    lines = []
    for name, shape in case.layout.body.items():
        place = name.rpartition(".")[0]
        layer = module.get_submodule(place)
        if (
            isinstance(layer, nn.Conv2d)
            and name in own
            and tuple(own[name].shape) != shape
            and own[name].ndim == len(shape)
        ):
            lines.append(sketch.new_convolution(place, layer, own[name]))
    if classes is None and head:
        lines.append(sketch.new_head(case.layout.head, nested(head), module.get_submodule(case.layout.head)))
    return lines


def _paste(case: Case, changes: list[str], classes: int | None) -> str:
    options = architectures.options(case.name, case.image_size, classes, transform_input=True)
    text = sketch.builder(case.name, options, changes)
    return (
        "Give the network as it was trained: put this into mine.py, correct it, and use `builder` mine:build with the "
        f"same `checkpoint`\n{text}"
    )
