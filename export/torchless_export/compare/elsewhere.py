"""GPU times that another machine recorded, beside the times of this one.

A time belongs to a model here if it was measured on the very file, or on a file with the same weights. Between two
untrained networks only the name counts: their weights are random, and time does not depend on them. Whatever does not
belong is named.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torchless.codec import decode
from torchless.doctor.machine import Machine
from torchless.errors import ManifestError, UsageError
from torchless_export.compare.comparison import Comparison, Elsewhere, Row, Speed, speed_of
from torchless_export.compare.measure import BATCH_SIZE, Sample
from torchless_export.compare.measurements import open_measurements
from torchless_export.compare.subjects import Subject


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """One model's rounds on a GPU. `trained` and `state_sha256` are None in files that older versions wrote."""

    model: str
    sha256: str
    state_sha256: str | None
    trained: bool | None
    machine: Machine
    versions: dict[str, str]
    speed: Speed
    days: tuple[str, ...]

    @property
    def origin(self) -> str:
        """What has to be equal for times to stand in one column."""
        return f"{self.machine}; {json.dumps(self.versions, sort_keys=True)}"


def check(path: Path) -> None:
    """Raises UsageError for a file that `join` cannot take: before anything is measured."""
    if not _recorded(path):
        raise UsageError(f"{path} has no times on a GPU; compare writes them there on a machine with one")


def join(comparison: Comparison, subjects: Sequence[Subject], path: Path) -> Comparison:
    """The comparison with the GPU times that the file at `path`, a measurements.json, holds for its models.

    Of several machines in the file, the one that measured last counts. Raises UsageError for a file of something else,
    one without times on a GPU, and one that knows none of the models.
    """
    check(path)
    recorded = _one_machine(_recorded(path))
    of = {subject.name: subject for subject in subjects}
    found, notes = {}, []
    for row in comparison.rows:
        best, note = _find(of[row.model], recorded)
        if best is not None:
            found[row.model] = best
        notes += [f"{row.model}: {note}"] if note else []
    if not found:
        raise UsageError(f"{path} has GPU times of none of these models: {'; '.join(notes)}")
    some = next(iter(found.values()))
    days = sorted({day for one in found.values() for day in one.days})
    return replace(
        comparison,
        rows=tuple(_with_speed(row, found.get(row.model)) for row in comparison.rows),
        elsewhere=Elsewhere(
            file=path.name,
            machine=some.machine,
            versions=some.versions,
            date=" to ".join(dict.fromkeys((days[0], days[-1]))),
            notes=tuple(notes),
        ),
    )


def _with_speed(row: Row, recorded: _Recorded | None) -> Row:
    return replace(row, gpu=recorded.speed if recorded is not None else None)


def _find(subject: Subject, recorded: Sequence[_Recorded]) -> tuple[_Recorded | None, str]:
    """What was measured of this model, and what must be said of it."""
    model = subject.manifest.model
    named = [one for one in recorded if one.model == model.name]
    for one in reversed(named):
        if one.sha256 == subject.sha256 or (one.state_sha256 is not None and one.state_sha256 == model.state_sha256):
            return one, ""
    if not named:
        return None, "not measured there"
    last = named[-1]
    if last.trained is False and not subject.manifest.is_trained and model.checkpoint is None:
        return last, "measured there with other random weights, on which time does not depend"
    return None, (
        f"left out: measured there was another file (SHA-256 {last.sha256[:12]}…, here {subject.sha256[:12]}…), with "
        "other weights as far as is known"
    )


def _one_machine(recorded: Sequence[_Recorded]) -> list[_Recorded]:
    """Those of the machine and versions that measured last."""
    if not recorded:
        return []
    last = max(recorded, key=lambda one: one.days[-1]).origin
    return [one for one in recorded if one.origin == last]


def _recorded(path: Path) -> list[_Recorded]:
    if not path.is_file():
        raise UsageError(f"there is no file {path}; give the measurements.json that compare wrote on the other machine")
    kept = open_measurements(path, "give the measurements.json that compare wrote on the other machine")
    try:
        return list(_decoded(kept.runs, str(path)))
    except (KeyError, TypeError, AttributeError, ManifestError) as error:
        raise UsageError(f"{path} is damaged: {error}; copy it again from the other machine") from None


def _decoded(runs: dict[str, dict[str, Any]], name: str) -> Iterator[_Recorded]:
    for entry in runs.values():
        of, rounds = entry["of"], entry.get("rounds", [])
        if not rounds or not str(of["device"]).startswith("cuda") or of["batch_size"] != BATCH_SIZE:
            continue
        yield _Recorded(
            model=of["model"],
            sha256=of["sha256"],
            state_sha256=entry.get("state_sha256"),
            trained=entry.get("trained"),
            machine=decode(Machine, of["machine"], f"{name}: machine"),
            versions=dict(of["versions"]),
            speed=_speed(decode(tuple[Sample, ...], rounds, f"{name}: rounds")),
            days=tuple(entry["days"]),
        )


def _speed(rounds: tuple[Sample, ...]) -> Speed:
    speed = speed_of(rounds)
    if speed is None:  # not of an entry with rounds
        raise TypeError("no rounds")
    return speed
