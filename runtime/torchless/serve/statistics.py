"""Counts and times of each model since the server started, as Triton's statistics extension has them."""

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from torchless.records import dataclass
from torchless.serve.jobs import ImageLogits, Outcome, Timings

_STAGES = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass
class _Spent:
    """How often, and how long in all. Images that ran together count as parts of one run, so `count` is no integer."""

    count: float = 0.0
    seconds: float = 0.0

    def add(self, seconds: float, share: float = 1.0) -> None:
        self.count += share
        self.seconds += seconds * share

    def document(self) -> dict[str, int]:
        return {"count": round(self.count), "ns": round(self.seconds * 1e9)}


@dataclass
class ModelStatistics:
    """Of one model of the protocol. Used in the event loop only."""

    images: int = 0
    last_request_ms: int = 0  # since 1970
    success: _Spent = field(default_factory=_Spent)
    fail: _Spent = field(default_factory=_Spent)
    stages: dict[str, _Spent] = field(default_factory=lambda: {stage: _Spent() for stage in _STAGES})
    batches: dict[int, dict[str, _Spent]] = field(default_factory=dict)

    def record(self, outcomes: Sequence[Outcome], seconds: float) -> None:
        """A request that took so long; it failed if any of its images did, or there are no outcomes."""
        self.last_request_ms = time.time_ns() // 1_000_000
        done = [outcome for outcome in outcomes if isinstance(outcome, ImageLogits)]
        for image in done:
            self._record_image(image)
        if not done or len(done) < len(outcomes):
            self.fail.add(seconds)
            return
        self.success.add(seconds)
        slowest = [max(stage) for stage in zip(*(_seconds(image.timings) for image in done), strict=True)]
        for stage, spent in zip(_STAGES, (*slowest, max(0.0, seconds - sum(slowest))), strict=True):
            self.stages[stage].add(spent)

    def _record_image(self, image: ImageLogits) -> None:
        self.images += 1
        batch = self.batches.setdefault(image.batch_size, {stage: _Spent() for stage in _STAGES[1:]})
        for stage, spent in zip(_STAGES[1:], (*_seconds(image.timings)[1:], 0.0), strict=True):
            batch[stage].add(spent, 1 / image.batch_size)

    def document(self) -> dict[str, Any]:
        """As Triton's extension_statistics.md has it, without name and version."""
        nothing = _Spent().document()
        spent = {"success": self.success, "fail": self.fail, **self.stages}
        return {
            "last_inference": self.last_request_ms,
            "inference_count": self.images,
            "execution_count": round(sum(batch["compute_infer"].count for batch in self.batches.values())),
            "inference_stats": {name: each.document() for name, each in spent.items()}
            | {"cache_hit": nothing, "cache_miss": nothing},
            "batch_stats": [
                {"batch_size": size, **{stage: each.document() for stage, each in batch.items()}}
                for size, batch in sorted(self.batches.items())
            ],
        }


Statistics = defaultdict[tuple[str, str], ModelStatistics]  # by the model's name in the protocol, and the version


def _seconds(timings: Timings) -> tuple[float, float, float]:
    return timings.queue, timings.decode + timings.preprocess, timings.inference
