"""The inputs and results of a classification."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torchless.records import dataclass
from torchless.text import without_controls

if TYPE_CHECKING:
    from torchless.image.decode import ImageLike

TARGET_COLUMNS = "target_index", "target_label"  # what rows of images with a known class have more
TARGETS_COLUMNS = "target_indices", "target_labels"  # and those of images of which all classes are known


@dataclass(frozen=True)
class Input:
    """One image to classify, under the name its row will have; or the reason why there is no image.

    `image` may be a function that fetches it when its turn comes, and raises ImageError if it cannot.
    """

    name: str | None
    image: "ImageLike | Callable[[], ImageLike] | None"
    error: str | None = None


@dataclass(frozen=True)
class Prediction:
    """One of an image's classes. `probability` is between 0 and 1, and so is the `threshold` from which the class
    counts as present; a single-label model has none.
    """

    index: int
    label: str
    probability: float
    threshold: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its part of a row."""
        row = {"index": self.index, "label": self.label, "probability": self.probability}
        return row if self.threshold is None else row | {"threshold": self.threshold}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> "Prediction":
        """The inverse of to_dict. Raises KeyError or TypeError for anything else."""
        return cls(
            _checked(row["index"], int),
            _checked(row["label"], str),
            _checked(row["probability"], float, int),
            _checked(row.get("threshold"), float, int, None),
        )


def _checked(value: Any, *kinds: type | None) -> Any:
    """`value`, if it is exactly of one of these kinds (True is no int). Raises TypeError."""
    if type(value) not in kinds and not (value is None and None in kinds):
        raise TypeError(f"{value!r:.40} is none of {kinds}")
    return value


@dataclass(frozen=True)
class Result:
    """One image's predictions, most probable first; or an error, with no predictions.

    `image` is the name it was given under: a path as the caller wrote it, "-" for standard input, None for one without
    a name. The predictions of a single-label model are its most probable classes. Those of a `multi_label` model are
    the classes that reach their threshold; if none does, there is no prediction, and `nearest` is the class that lacks
    least. `warning` says why the image may not have been read as it was meant.
    """

    image: str | None
    predictions: tuple[Prediction, ...] = ()
    error: str | None = None
    multi_label: bool = False
    nearest: Prediction | None = None
    warning: str | None = None

    @property
    def ok(self) -> bool:
        return self.error is None

    def to_dict(self) -> dict[str, Any]:
        """The row that every JSON output of torchless uses. Only rows of a multi-label model have `multi_label`, and
        `nearest` only where no class reaches its threshold; `warning` only where there is one.
        """
        # Not dataclasses.asdict, which copies everything and takes ten times as long.
        row: dict[str, Any] = {"image": self.image, "predictions": [p.to_dict() for p in self.predictions]}
        row["error"] = self.error
        if self.multi_label:
            row["multi_label"] = True
        if self.nearest is not None:
            row["nearest"] = self.nearest.to_dict()
        if self.warning is not None:
            row["warning"] = self.warning
        return row

    def to_json(self, *, ascii_only: bool = False) -> str:
        """The row as one line. `ascii_only` escapes everything else, for streams that are not UTF-8."""
        return without_controls(json.dumps(self.to_dict(), ensure_ascii=ascii_only, allow_nan=False))

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The inverse of to_json. Raises ValueError for other text."""
        try:
            return cls._from_row(json.loads(text))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a row: {error!r}") from None

    @classmethod
    def _from_row(cls, row: Any) -> "Result":
        nearest = Prediction.from_dict(row["nearest"]) if "nearest" in row else None
        predictions = tuple(Prediction.from_dict(prediction) for prediction in row["predictions"])
        return cls(
            _checked(row["image"], str, None),
            predictions,
            _checked(row["error"], str, None),
            _checked(row.get("multi_label", False), bool),
            nearest,
            _checked(row.get("warning"), str, None),
        )


@dataclass(frozen=True, kw_only=True)
class LabelledResult(Result):
    """The Result of an image whose true class is known."""

    target_index: int
    target_label: str

    def target(self) -> dict[str, Any]:
        """Its part of the row."""
        return dict(zip(TARGET_COLUMNS, (self.target_index, self.target_label), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The row with its class."""
        return super().to_dict() | self.target()


@dataclass(frozen=True, kw_only=True)
class MultiLabelledResult(Result):
    """The Result of an image of which all true classes are known."""

    target_indices: tuple[int, ...]
    target_labels: tuple[str, ...]

    def target(self) -> dict[str, Any]:
        """Its part of the row."""
        return dict(zip(TARGETS_COLUMNS, (list(self.target_indices), list(self.target_labels)), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The row with its classes."""
        return super().to_dict() | self.target()
