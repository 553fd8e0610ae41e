"""Every round that was measured, kept in one JSON file: an interrupted comparison, or one with one more model, goes on
from there.

A run is what has to be equal for figures to belong together: the file by its hash, the machine, the versions, the
device and the settings. The times of all calls are kept, so that medians are of all of them. The file is rewritten
whole after every round, or not at all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from torchless.codec import decode, encode
from torchless.errors import UsageError
from torchless.files import atomic_path
from torchless_export.compare.measure import Sample

_VERSION_KEY, _VERSION = "torchless_measurements", 1

Run = dict[str, Any]


@dataclass
class Measurements:
    """The file at `path`; `runs` has for each run what it is about ("of"), its rounds and their days (YYYY-MM-DD), or
    the errors counted on labelled images.
    """

    path: Path
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def rounds(self, run: Run) -> tuple[Sample, ...]:
        """What was measured for `run` so far."""
        samples: tuple[Sample, ...] = decode(
            tuple[Sample, ...], self.runs.get(_key(run), {}).get("rounds", []), f"{self.path}: rounds"
        )
        return samples

    def days(self, run: Run) -> tuple[str, ...]:
        """When the rounds of `run` were measured."""
        return tuple(self.runs.get(_key(run), {}).get("days", ()))

    def add(self, run: Run, sample: Sample, day: str, about: Mapping[str, Any] | None = None) -> None:
        """Adds a round, and what else is known `about` the model. Raises UsageError when the file cannot be written."""
        found = self.runs.setdefault(_key(run), {"of": run, "rounds": [], "days": []})
        found.update(about or {})
        found["rounds"].append(encode(sample))
        found["days"].append(day)
        self._write()

    def errors(self, run: Run) -> dict[str, Any] | None:
        """What was counted on labelled images, None if nothing was yet."""
        found: dict[str, Any] | None = self.runs.get(_key(run), {}).get("errors")
        return found

    def set_errors(self, run: Run, errors: dict[str, Any]) -> None:
        """Keeps what was counted on labelled images. Raises UsageError when the file cannot be written."""
        self.runs[_key(run)] = {"of": run, "errors": errors}
        self._write()

    def _write(self) -> None:
        runs = ",\n".join(f"{json.dumps(key)}: {json.dumps(run)}" for key, run in self.runs.items())
        with atomic_path(self.path) as temporary:
            temporary.write_text(f'{{"{_VERSION_KEY}": {_VERSION}, "runs": {{\n{runs}\n}}}}\n')


def open_measurements(path: Path, instead: str = "delete it to measure again") -> Measurements:
    """Reads what is there. Raises UsageError for a file of something else, which says what to do `instead`."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version, runs = document[_VERSION_KEY], dict(document["runs"])
    except FileNotFoundError:
        return Measurements(path)
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path} cannot be read, or is not what compare writes as measurements; {instead}") from None
    if version != _VERSION:
        raise UsageError(f"{path} was written by another version of torchless; {instead}")
    return Measurements(path, runs)


def _key(run: Run) -> str:
    return sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
