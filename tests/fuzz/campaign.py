"""Sends numbered inputs of a target to worker processes, and gathers what became of them: outcomes, crashes, hangs,
memory.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]
LIMIT_S = 20.0
WORKER = ["-m", "tests.fuzz.worker"]
_START_S = 120.0
_STDERR_LINES = 15


@dataclass
class Tally:
    """What became of a target's inputs; `findings` has the number and the story of each that did what it should not."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    most_memory: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """One input that the worker told of."""
        self.inputs += 1
        self.outcomes[row["outcome"]] += 1
        self.slowest_s = max(self.slowest_s, row["seconds"])
        self.most_memory = max(self.most_memory, row["memory"])
        if row["finding"] is not None:
            self.findings.append((row["number"], row["finding"]))

    def lost(self, number: int, story: str) -> None:
        """One whose worker did not live to tell."""
        self.inputs += 1
        self.outcomes["finding"] += 1
        self.findings.append((number, story))


def run(
    target: str, model: Path, *, seed: int, first: int, count: int, seen: Callable[[Tally], None] = lambda _: None
) -> Tally:
    """`count` inputs from number `first`; a new worker takes over where one crashes or hangs."""
    tally, number, end = Tally(), first, first + count
    while number < end:
        with (
            tempfile.TemporaryDirectory(prefix="torchless-fuzz-") as folder,
            _Worker(target, model, Path(folder), seed, number, end) as worker,
        ):
            if worker.row(_START_S) is None:
                raise RuntimeError(f"the worker for {target} did not start: {worker.end()}")
            while number < end:
                row = worker.row(LIMIT_S)
                if row is None:
                    tally.lost(number, worker.end())
                else:
                    tally.add(row)
                seen(tally)
                number += 1
                if row is None:
                    break
            else:
                if story := worker.finish():
                    tally.findings.append((end, story))
    return tally


class _Worker:
    """One process, and a thread that reads what it tells."""

    def __init__(self, target: str, model: Path, folder: Path, seed: int, first: int, end: int) -> None:
        command = [sys.executable, *WORKER, target, str(model), str(folder), str(seed), str(first), str(end - first)]
        self._errors = (folder / "stderr").open("w+b")
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment.pop("COVERAGE_PROCESS_START", None)
        self._process = subprocess.Popen(
            command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
        )
        self._rows: queue.Queue[bytes] = queue.Queue()
        self._is_over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._reader.join()
        self._errors.close()

    def row(self, seconds: float) -> dict[str, Any] | None:
        """What it tells next; None where it ended, or took too long."""
        try:
            line = self._rows.get(timeout=seconds)
        except queue.Empty:
            return None
        self._is_over = not line
        return json.loads(line) if line else None

    def finish(self) -> str:
        """Waits for a worker that told of everything; what went wrong at its end, "" if nothing did."""
        try:
            code = self._process.wait(_START_S)
        except subprocess.TimeoutExpired:
            return f"the worker did not end: {self.end()}"
        return f"the worker ended with exit code {code}: {self._last_words()}" if code else ""

    def end(self) -> str:
        """How it ended, or that it had to be."""
        try:
            code = self._process.wait(_START_S if self._is_over else 0)
        except subprocess.TimeoutExpired:
            self._kill()
            return f"no answer in time: {self._last_words()}"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process ended with {name}: {self._last_words()}"

    def _read(self) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as lines:
                for line in lines:
                    self._rows.put(line)
        self._rows.put(b"")

    def _kill(self) -> None:
        """And what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        self._errors.flush()
        text = Path(self._errors.name).read_bytes().decode(errors="replace")
        return "\n".join(text.splitlines()[-_STDERR_LINES:])
