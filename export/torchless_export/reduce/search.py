"""Which recipe, and which layers stay in float32: tried on the calibration images alone, so that the test images stay
unseen.

First each recipe with every layer in int8. Where none decides as the float model does, each layer is quantised alone,
and the error it makes in the logits measured; then the 1, 2, 4, … layers that make most of it stay in float32. The
search ends with the first that is good enough; a number of layers and a time bound it.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless.engine.head import Head, make_head
from torchless.engine.session import Session, open_session
from torchless.evaluate.text import percent
from torchless.model.manifest import Manifest
from torchless.model.onnxfile import read_onnx
from torchless_export.gate.answers import answers
from torchless_export.gate.decisions import Decisions, decide
from torchless_export.reduce.images import Batch
from torchless_export.reduce.int8 import RECIPES, FloatGraph, to_int8
from torchless_export.reduce.request import Bounds

PROBE_IMAGES, SHOWN = 16, 4
_OTHERS_FLIP = 2  # times as many answers may change on other photos as are foreseen; it was more on some networks

Progress = Callable[[str], None]
Group = tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """An int8 model, and how it did on the calibration images; `ms` is the median of one image.

    `foreseen` is the share of answers, in 0..1, that stay if every image's error befalls every image: N² cases of N
    images, so it is steadier than how many of them kept their own answer.
    """

    model: onnx.ModelProto
    recipe: str
    kept: tuple[Group, ...]
    decisions: Decisions
    foreseen: float
    ms: float


class Search:
    """The calibration images, what the float model answers to them, and what has to be reached."""

    def __init__(
        self, graph: FloatGraph, manifest: Manifest, batches: Sequence[Batch], wanted: NDArray[np.float32], *,
        min_agreement: float, bounds: Bounds, always_kept: Sequence[str], progress: Progress,
    ) -> None:  # fmt: skip
        self._graph, self._names = graph, (manifest.input.name, manifest.output.name)
        self._bounds, self._always_kept, self._progress = bounds, tuple(always_kept), progress
        self._batches, self._wanted = batches, wanted
        self._head = make_head(manifest.output, manifest.labels, wanted.shape[1])
        self._least = min_agreement
        self._target = 1 - 0.75 * (1 - min_agreement)  # a little more: the scales were made for these very images

    def run(self) -> Trial:
        """The fastest recipe that is good enough; else the better one, with as many layers in float32 as it takes, or
        as come closest.
        """
        trials = [self._try(recipe, ()) for recipe in RECIPES]
        passing = [trial for trial in trials if self._is_good_enough(trial)]
        if passing:
            return min(passing, key=lambda trial: trial.ms)
        start = min(trials, key=lambda trial: trial.decisions.noise)
        ranked, count = self._sensitivity(start.recipe), 1
        while ranked and count <= self._bounds.most(len(self._graph.layers)):
            trials.append(self._try(start.recipe, tuple(ranked[:count])))
            if self._is_good_enough(trials[-1]):
                return trials[-1]
            count *= 2
        return min(trials, key=lambda trial: trial.decisions.noise)

    def _is_good_enough(self, trial: Trial) -> bool:
        steady = 1 - _OTHERS_FLIP * (1 - trial.foreseen) >= self._least
        return trial.decisions.broken == 0 and trial.decisions.agreement.value >= self._target and steady

    def _try(self, recipe: str, kept: tuple[Group, ...]) -> Trial:
        model = to_int8(
            self._graph,
            recipe=recipe,
            kept_float=[*self._always_kept, *(name for group in kept for name in group)],
        )
        got, ms = self._run(model, self._batches)
        trial = Trial(
            model, recipe, kept, decide(self._wanted, got, self._head), foreseen(self._wanted, got, self._head), ms
        )
        left = f", {len(kept)} of {len(self._graph.layers)} layers in float32" if kept else ""
        agreement = f"{percent(trial.decisions.agreement.value)} of {len(got)} calibration images decided as before"
        self._progress(
            f"recipe {recipe}{left}: {agreement}, {percent(trial.foreseen)} foreseen, "
            f"noise {trial.decisions.noise:.3f}, {ms:.1f} ms"
        )
        return trial

    def _sensitivity(self, recipe: str) -> list[Group]:
        """The layers, the most harmful first: each is quantised alone."""
        started, errors = time.monotonic(), {}
        every = max(1, len(self._batches) // PROBE_IMAGES)
        batches, wanted = self._batches[::every], self._wanted[::every]
        count, most = len(self._graph.layers), self._bounds.seconds
        self._progress(f"quantising each of {count} layers alone, for {most:.0f} s at most")
        for group in self._graph.layers:
            if time.monotonic() - started > most:
                break
            got, _ = self._run(to_int8(self._graph, recipe=recipe, only=group), batches)
            errors[group] = float(
                np.nan_to_num(np.square(got - wanted, dtype=np.float64), nan=np.inf, posinf=np.inf).mean()
            )
        ranked = sorted(errors, key=lambda group: -errors[group])
        total = sum(errors.values()) or 1.0
        first, *others = [(f"{errors[group] / total:.0%}", group[0]) for group in ranked[:SHOWN]] or [("0%", "none")]
        worst = ", ".join([f"{first[0]} of the error comes from {first[1]}", *(" from ".join(each) for each in others)])
        self._progress(f"{len(errors)} of {count} layers quantised alone; {worst}")
        return ranked

    def _run(self, model: onnx.ModelProto, batches: Sequence[Batch]) -> tuple[NDArray[np.float32], float]:
        with tempfile.TemporaryDirectory() as box:
            path = Path(box, "trial.onnx")
            path.write_bytes(model.SerializeToString())
            session = open_session(read_onnx(path), device="cpu")
        outputs, times = zip(*(self._timed(session, batch) for batch in batches), strict=True)
        return np.concatenate(outputs), median(times)

    def _timed(self, session: Session, batch: Batch) -> tuple[NDArray[np.float32], float]:
        start = time.perf_counter()
        logits = session.run(batch, *self._names)
        return logits, 1000 * (time.perf_counter() - start)


def foreseen(wanted: NDArray[np.float32], got: NDArray[np.float32], head: Head) -> float:
    """See Trial; both are outputs of the same images, (N, outputs)."""
    errors, best = np.nan_to_num(got - wanted), answers(head, wanted)
    shifts = (np.roll(errors, shift, axis=0) for shift in range(len(wanted)))
    return float(np.mean([(answers(head, wanted + shift) == best).all(axis=1).mean() for shift in shifts]))
