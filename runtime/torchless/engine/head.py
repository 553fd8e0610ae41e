"""The head of a model: what makes probabilities of a graph's output, and predictions of the probabilities."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from torchless.engine.results import Prediction, Result
from torchless.errors import InferenceError, ManifestError, UsageError
from torchless.model.artifact import Artifact
from torchless.model.labels import check_label_count
from torchless.model.manifest import Activation, Manifest, OutputInfo
from torchless.records import dataclass

DEFAULT_TOP_K, DEFAULT_THRESHOLD = 5, 0.5

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Head:
    """What a model's output means. `make_head` makes one of a manifest.

    Single-label: an image has one class, and its most probable ones are listed. Multi-label: each class is decided by
    itself, and those at or above their threshold are listed. `outputs` is the graph's number of outputs, one for each
    label, or a single one that decides between two labels, negative and positive (`binary`, which is single-label).
    `thresholds`, one for each label, are None for a single-label model.
    """

    labels: tuple[str, ...]
    activation: Activation
    outputs: int
    thresholds: tuple[float, ...] | None = None

    @property
    def multi_label(self) -> bool:
        return self.thresholds is not None

    @property
    def binary(self) -> bool:
        return is_binary(self.labels, self.outputs)

    @property
    def output_labels(self) -> tuple[str, ...]:
        """The labels of the graph's outputs: of two labels that one output decides between, the positive one."""
        return self.labels[1:] if self.binary else self.labels

    def scores(self, output: Scores) -> Scores:
        """A value for each label, (…, labels), from rows of the graph's output, (…, outputs): in the output's own
        unit, and in the order of the probabilities.
        """
        if not self.binary:
            return output
        return np.concatenate([1 - output if self.activation == "none" else -output, output], axis=-1)

    def probabilities(self, output: Scores) -> NDArray[np.float64]:
        """The probability of each label, float64 (…, labels), from rows of the graph's output, (…, outputs)."""
        return activated(self.scores(output), self.activation)

    def present(self, output: Scores) -> NDArray[np.bool_]:
        """Of a multi-label model: which classes reach their threshold, (…, labels)."""
        present: NDArray[np.bool_] = self.probabilities(output) >= np.array(self.thresholds)
        return present

    def cuts(self) -> NDArray[np.float64]:
        """Of a multi-label model: each label's threshold in the unit of `scores`, (labels,)."""
        thresholds = np.array(self.thresholds)
        return thresholds if self.activation == "none" else np.log(thresholds / (1 - thresholds))

    def limit(self, top_k: int | None) -> int | None:
        """The most predictions that an image can have where `top_k` was asked for; None for any number."""
        return DEFAULT_TOP_K if top_k is None and not self.multi_label else top_k

    def failure(self, name: str | None, error: str) -> Result:
        """The Result of an image that has no output."""
        return Result(name, error=error, multi_label=self.multi_label)

    def rank(
        self, name: str | None, output: NDArray[np.float32], top_k: int | None, *, all_classes: bool = False
    ) -> Result:
        """The Result for one row of the graph's output, float32 (outputs,). `all_classes` are listed whatever their
        thresholds, at most `top_k`.

        Raises InferenceError for NaN, infinity, or another number of outputs.
        """
        if not np.isfinite(output).all():
            raise InferenceError("the model's output contains NaN or infinity")
        if len(output) != self.outputs:
            raise InferenceError(f"the model gave {len(output)} classes, but there are {len(self.labels)} labels")
        probabilities = self.probabilities(output)
        # A stable sort: if outputs are equal, the lower index comes first.
        order = np.argsort(-self.scores(output), kind="stable")
        found = order if all_classes or self.thresholds is None else order[self.present(output)[order]]
        listed = found[: top_k if all_classes else self.limit(top_k)]
        return Result(
            name,
            tuple(self._prediction(i, probabilities) for i in listed),
            multi_label=self.multi_label,
            nearest=None
            if len(found)
            else self._prediction((probabilities - np.array(self.thresholds)).argmax(), probabilities),
        )

    def _prediction(self, index: np.intp, probabilities: NDArray[np.float64]) -> Prediction:
        threshold = self.thresholds[index] if self.thresholds is not None else None
        return Prediction(int(index), self.labels[index], float(probabilities[index]), threshold)


def head_of(artifact: Artifact, *, labels: Sequence[str] | None, outputs: int | None, threshold: float | None) -> Head:
    """The head of an artifact. `labels` and `threshold` replace its own; `outputs` is what its graph has, None where
    that is open.

    Raises UsageError, and ManifestError where the file's own manifest is at fault.
    """
    manifest, path = artifact.manifest, artifact.path
    shown = manifest.labels if labels is None else tuple(labels)
    if labels is None and outputs not in (None, 1, len(shown)):
        raise ManifestError(f"{path}: the manifest has {len(shown)} labels, the graph {outputs} classes")
    try:
        where = "the manifest" if labels is None else getattr(labels, "where", "`labels`")
        check_outputs(shown, outputs or len(shown), manifest.output.activation, where)
    except UsageError as error:
        if labels is None and Manifest.KEY in artifact.file.metadata:
            raise ManifestError(f"{path}: {error}") from None
        raise
    if threshold is not None:
        check_threshold(threshold)
    try:
        return make_head(manifest.output, shown, outputs, threshold=threshold)
    except (UsageError, ManifestError) as error:
        raise type(error)(f"{path}: {error}") from None


def make_head(
    info: OutputInfo,
    labels: tuple[str, ...],
    outputs: int | None,
    *,
    threshold: float | None = None,
) -> Head:
    """The head of a graph with that number of `outputs` (None where the graph leaves it open).

    `threshold` replaces those in `info`; a multi-label model without any has DEFAULT_THRESHOLD. Raises UsageError
    where these don't fit each other, ManifestError for thresholds in `info` that don't.
    """
    _check_thresholds(info.thresholds, labels)
    outputs = len(labels) if outputs is None else outputs
    check_outputs(labels, outputs, info.activation, "`labels`")
    multi_label = is_multi_label(info, labels, outputs)
    if threshold is not None:
        check_threshold(threshold)
        if not multi_label:
            raise UsageError(
                "`threshold` is for multi-label models; this one gives each image one class of "
                f"{len(labels)}, and `top_k` says how many of the most probable ones are shown"
            )
    elif not multi_label and info.thresholds is not None:
        raise ManifestError(f"output.thresholds is for multi-label models, but output.activation is {info.activation}")
    same = (DEFAULT_THRESHOLD if threshold is None else threshold,) * len(labels)
    own = info.thresholds if threshold is None else None
    return Head(labels, info.activation, outputs, (own or same) if multi_label else None)


def _check_thresholds(thresholds: tuple[float, ...] | None, labels: tuple[str, ...]) -> None:
    if thresholds is None:
        return
    if len(thresholds) != len(labels):
        raise ManifestError(f"output.thresholds has {len(thresholds)} numbers, there are {len(labels)} labels")
    for each in thresholds:
        if not 0 < each < 1:
            raise ManifestError(f"output.thresholds are probabilities between 0 and 1, got {each:g}")


def is_binary(labels: tuple[str, ...], outputs: int) -> bool:
    """Whether one output decides between two labels, negative and positive."""
    return outputs == 1 and len(labels) == 2


def is_multi_label(info: OutputInfo, labels: tuple[str, ...], outputs: int) -> bool:
    """Whether each class is decided by itself: with sigmoid, with a single class, and where a graph that gives
    probabilities has thresholds; not where one output decides between two labels.
    """
    if info.activation == "softmax" or is_binary(labels, outputs):
        return False
    return info.activation == "sigmoid" or info.thresholds is not None or len(labels) == 1


def check_outputs(labels: tuple[str, ...], outputs: int, activation: Activation, where: str) -> tuple[str, ...]:
    """`labels`, which come from `where`. Raises UsageError unless there are as many as outputs, or one or two for a
    single output; and for a softmax over a single output.
    """
    if outputs != 1:
        return check_label_count(labels, outputs, where)
    if activation == "softmax":
        raise UsageError(
            "the model gives one number for an image, of which a softmax always makes 1.0: give `activation` sigmoid, "
            "with two labels (negative, then positive) or one"
        )
    if len(labels) not in (1, 2):
        raise UsageError(
            f"{where} holds {len(labels)} labels; a model with one output takes two (negative, then positive) or one"
        )
    return labels


def check_threshold(threshold: float) -> None:
    """Raises UsageError unless it is between 0 and 1."""
    if not 0 < threshold < 1:
        raise UsageError(f"`threshold` is a probability between 0 and 1, got {threshold:g}")


def activated(output: Scores, activation: Activation) -> NDArray[np.float64]:
    """The probabilities that `activation` makes of rows of outputs, float64 of their shape."""
    if activation == "none":
        return output.astype(np.float64)
    return softmax(output) if activation == "softmax" else sigmoid(output)


def softmax(logits: Scores) -> NDArray[np.float64]:
    """Probabilities over the last axis, in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = shifted / shifted.sum(axis=-1, keepdims=True)
    return probabilities


def sigmoid(logits: Scores) -> NDArray[np.float64]:
    """The probability of each logit by itself, in float64."""
    exact = logits.astype(np.float64)
    small = np.exp(-np.abs(exact))  # never overflows
    probabilities: NDArray[np.float64] = np.where(exact >= 0, 1, small) / (1 + small)
    return probabilities
