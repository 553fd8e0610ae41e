"""Why an artifact's answers are not the user's: the likely cause, found by trying what would make them equal.

In this order: the head, the names of the classes, their order, the transform; what none of them explains is the
architecture or the weights.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from torchless.engine.classifier import Classifier
from torchless.engine.head import Head, sigmoid, softmax
from torchless.expected.alternatives import Alternative, alternatives
from torchless.expected.answers import Expected, Rows
from torchless.image.decode import load_rgb
from torchless.image.options import ImageOptions
from torchless.model.manifest import Activation
from torchless.records import dataclass

# Runs one prepared image, float32 (channels, height, width), and gives its logits (outputs,); None for a size that the
# network does not take.
Network = Callable[[NDArray[np.float32]], NDArray[np.floating] | None]

MAX_SECONDS = 60.0
_CONFIRMED_ON = 8  # images
# As shares of the logits' spread: answers this near are the same but for rounding, or for another library's resize; and
# what an alternative that explains them gives.
_NEAR, _EXACT = 0.02, 1e-3
# Another order of the same operations, such as a transform within the network, rounds otherwise.
_ROUNDING = 10.0
# So many values between 0 and 1 are probabilities, even where their sum is not 1.
_MANY_VALUES = 20
_ARCHITECTURE = (
    "the architecture or the weights: look for what a checkpoint does not show, such as strides, pooling, padding, "
    "activations and transform_input; or the answers are of other weights, or of training mode. No usual transform "
    "gives them, but one with an uncommon size, mean or std may"
)


@dataclass(frozen=True)
class Case:
    """What failed: the classifier, the user's answers, and what the classifier `got`, (images, outputs). A logit may be
    `limit` off, None where only answers count; `network` runs images of any size.
    """

    classifier: Classifier
    expected: Expected
    got: Rows
    limit: float | None
    network: Network | None = None

    @cached_property
    def spread(self) -> float:
        return float(np.ptp(self.expected.logits)) or 1.0

    @property
    def tolerance(self) -> float:
        return self.limit or 0.0

    @property
    def logits_agree(self) -> bool:
        return _near(self.got, self.expected.logits, self.tolerance)

    @property
    def head(self) -> Head:
        return self.classifier.head


def likely_cause(case: Case) -> str:
    """One sentence that begins with the head, the class order, the transform, rounding, or the architecture."""
    if case.limit is None:
        return "not looked for below float32: check the float32 artifact with the same file"
    looks = (_head, _class_order, _transform) if not case.logits_agree else (_activation, _names)
    return next((text for look in looks if (text := look(case)) is not None), _ARCHITECTURE)


def are_probabilities(values: Rows) -> bool:
    """Whether outputs (images, classes) are probabilities: in 0..1, with rows that sum to 1, or many of them."""
    if values.min() < 0 or values.max() > 1:
        return False
    sums = values.sum(axis=1)
    return (values.shape[1] > 1 and bool(np.allclose(sums, 1, atol=1e-3))) or values.size >= _MANY_VALUES


def as_recorded(head: Head, probabilities: Rows, count: int) -> Rows:
    """Probabilities of each label, (…, labels), as a program writes them that gives `count`: where one output decides
    between two labels, it may write that of the second alone.
    """
    return probabilities[..., -1:] if head.binary and count == 1 else probabilities


def _activation(case: Case) -> str | None:
    """The logits are right: what the user's program makes of them is something else."""
    own = case.head.activation
    if are_probabilities(case.expected.logits) and own != "none":
        return f"the head: the network gives probabilities already, of which {own} makes others; give `activation` none"
    wanted = case.expected.probabilities
    if wanted is None:
        return None
    others: tuple[Activation, ...] = ("softmax", "sigmoid", "none")
    for other in others:
        found = replace(case.head, activation=other).probabilities(case.got)
        if other != own and _near(as_recorded(case.head, found, wanted.shape[1]), wanted, case.tolerance + 1e-5):
            return f"the head: the probabilities are {_made_by(other)}; give `activation` {other}"
    return None


def _made_by(activation: Activation) -> str:
    return "the network's own outputs" if activation == "none" else f"the {activation} of the network's outputs"


def _head(case: Case) -> str | None:
    """One side's outputs are probabilities of the other's."""
    for name, function in (("softmax", softmax), ("sigmoid", sigmoid), ("log-softmax", _log_softmax)):
        if _near(function(case.got), case.expected.logits, case.tolerance + 1e-5):
            return (
                f"the head: the answers are the {name} of what the exported network gives; export the network that "
                "ends in it, or record what comes before it"
            )
        if _near(function(case.expected.logits), case.got, case.tolerance + 1e-5):
            return (
                f"the head: the exported network ends in a {name} that the recorded one does not have; export the "
                "network without it, or give `activation` none and record its own outputs"
            )
    return None


def _names(case: Case) -> str | None:
    """The answers are right, and the labels in another order."""
    names, labels = case.expected.labels, case.head.labels
    if names is None:
        return None
    found = {int(index): name for index, name in zip(case.head.scores(case.got).argmax(axis=1), names, strict=True)}
    wrong = next((index for index, name in found.items() if labels[index] != name), None)
    if wrong is None:
        return None
    text = f"the class order: class {wrong} is {found[wrong]!r} in training, {labels[wrong]!r} among the labels"
    orders = {
        "the two labels are exchanged": labels[::-1] if len(labels) == 2 else None,
        "the labels in alphabetical order, as ImageFolder numbers them, would fit": tuple(sorted(labels)),
        "the labels are one line late": (*labels[1:], labels[0]),
        "the labels are one line early": (labels[-1], *labels[:-1]),
    }
    fitting = (said for said, order in orders.items() if order and all(order[i] == name for i, name in found.items()))
    hint = next(fitting, None) if len(found) > 1 or len(labels) == 2 else None
    return text if hint is None else f"{text}; {hint}"


def _class_order(case: Case) -> str | None:
    """Each logit is right, at another place."""
    wanted, got = case.expected.logits, case.got
    if got.shape[1] < 2 or not _near(np.sort(got), np.sort(wanted), case.tolerance):
        return None
    place = next(i for i in range(got.shape[1]) if not _near(got[:, i], wanted[:, i], case.tolerance))
    apart = np.abs(got - wanted[:, [place]]).max(axis=0)
    label = case.classifier.labels[int(apart.argmin())]
    return (
        f"the class order: the logits are those of the same classes in another order; class {place} of the answers is "
        f"class {apart.argmin()} here ({label})"
    )


def _transform(case: Case) -> str | None:
    """Another way of preparing the images gives the user's logits; or nearly."""
    own = case.classifier.manifest.preprocess
    nearest, best = float(np.abs(case.got - case.expected.logits).max()), None
    for error, other in _tried(case):
        if error <= min(_ROUNDING * case.tolerance, _EXACT * case.spread):
            return f"the transform: the answers are of images {other.described(own)}"
        if error < nearest / 10:
            nearest, best = error, other
    if nearest > _NEAR * case.spread:
        return None
    apart = f"to {nearest / case.spread:.1g} of the logits' spread"
    if best is not None:
        return f"the transform: nearly ({apart}), the answers are of images {best.described(own)}"
    return (
        f"rounding, or another library's resize: the answers are equal {apart}. Record them in float32 without TF32 or "
        "autocast, with images resized by Pillow (not OpenCV, nor as tensors)"
    )


def _tried(case: Case) -> Iterator[tuple[float, Alternative]]:
    """(the largest error over the images, the alternative): of the one image that is furthest off, and of all for those
    that explain it.
    """
    manifest = case.classifier.manifest
    if manifest.input.takes_pixels and case.network is None:
        return
    numbers = [int(i) for i in np.argsort(-np.abs(case.got - case.expected.logits).max(axis=1))[:_CONFIRMED_ON]]
    images = [case.expected.image(number) for number in numbers]
    wanted = [case.expected.logits[number] for number in numbers]
    network, end = case.network or _own_size(case.classifier), time.monotonic() + MAX_SECONDS
    ways = alternatives(
        manifest.preprocess,
        manifest.image_size,
        any_size=case.network is not None,
        turned=any(_is_turned(image) for image in images),
    )
    for way in ways:
        errors = (_error(way, image, row, network) for image, row in zip(images, wanted, strict=True))
        error = next(errors)
        if error <= _NEAR * case.spread:
            error = max([error, *errors])
        yield error, way
        if time.monotonic() > end:
            return


def _error(way: Alternative, image: bytes, wanted: Rows, network: Network) -> float:
    prepared = way.prepare(image)
    got = network(prepared) if prepared is not None else None
    return float(np.abs(got - wanted).max()) if got is not None and got.shape == wanted.shape else float("inf")


def _own_size(classifier: Classifier) -> Network:
    height, width = classifier.manifest.image_size
    shape = classifier.manifest.preprocess.channels, height, width
    return lambda prepared: classifier.run(prepared[None])[0] if prepared.shape == shape else None


def _is_turned(image: bytes) -> bool:
    upright, stored = load_rgb(image), load_rgb(image, ImageOptions(apply_exif=False))
    return upright.size != stored.size or upright.tobytes() != stored.tobytes()


def _near(got: NDArray[np.floating], wanted: Rows, tolerance: float) -> bool:
    return got.shape == wanted.shape and bool((np.abs(got - wanted) <= tolerance).all())


def _log_softmax(logits: Rows) -> Rows:
    shifted: Rows = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities: Rows = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probabilities
