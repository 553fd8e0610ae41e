"""What was found so far, in one JSON file; and the log of what every command said."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpu_proof.settings import ROOT, Settings
from torchless.codec import encode
from torchless.doctor.machine import machine, versions
from torchless.files import atomic_path

PACKAGES = ("python", "onnxruntime", "torch", "torchvision", "numpy", "pillow", "torchless")


class StepError(Exception):
    """Its text is for people: one line."""


class Record:
    """The file OUTPUT/proof.json. `found` has a value for each step that is done, by its name."""

    def __init__(self, settings: Settings) -> None:
        settings.output.mkdir(parents=True, exist_ok=True)
        self.path, self.log = settings.output / "proof.json", settings.log
        self.log.parent.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._end = time.monotonic() + 60 * settings.minutes
        self._start = time.monotonic()
        origin = {
            "machine": encode(machine(gpu=settings.on_card)), "versions": versions(*PACKAGES), **settings.kept(),
        }  # fmt: skip
        self.document = self._earlier(origin) or {**origin, "found": {}}
        self.document["date"] = time.strftime("%Y-%m-%d", time.gmtime())
        self.document["failures"] = {}
        self.say(f"log: {self.log}")

    @property
    def found(self) -> dict[str, Any]:
        """By the names of the steps."""
        found: dict[str, Any] = self.document["found"]
        return found

    def step(self, name: str, work: Callable[[], Any]) -> None:
        """Does the work unless it was done before; a failure is kept, and the next step goes on. From any thread."""
        if name in self.found:
            return
        if time.monotonic() > self._end:
            self.document["failures"][name] = "left out: the time was up; the same command goes on"
            return
        self.say(name)
        try:
            value, failure = work(), None
        except StepError as error:
            value, failure = None, str(error)
            self.say(f"{name} FAILED: {error}")
        with self._lock:
            (self.document["failures"] if failure else self.found)[name] = failure or value
            self.write()

    def write(self) -> None:
        """The whole file, or nothing."""
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self.document, indent=1) + "\n")

    def say(self, text: str) -> None:
        """A line of progress, with the minutes since the start."""
        line = f"[{(time.monotonic() - self._start) / 60:5.1f} min] {text}"
        print(line, file=sys.stderr, flush=True)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{line}\n")

    def run(self, command: Sequence[object], *, minutes: float = 10, codes: Sequence[int] = (0,)) -> str:
        """What a program prints that ends with one of the exit `codes`. Raises StepError with the last line of its
        messages, which all go into the log.
        """
        text = [str(part) for part in command]
        try:
            done = subprocess.run(
                text, capture_output=True, text=True, check=False, timeout=60 * minutes, cwd=ROOT, errors="replace"
            )
        except subprocess.TimeoutExpired:
            raise StepError(f"{' '.join(text[:6])} … took more than {minutes:g} minutes") from None
        except OSError as error:
            raise StepError(f"{text[0]} cannot be started: {error.strerror}") from None
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(text)}\n{done.stderr}\n-- exit code {done.returncode}\n")
        if done.returncode not in codes:
            said = [line for line in done.stderr.splitlines() if line.strip()] or [f"exit code {done.returncode}"]
            raise StepError(said[-1].strip())
        return done.stdout

    def json(self, command: Sequence[object], *, minutes: float = 10, codes: Sequence[int] = (0,)) -> Any:
        """The same, where the program prints JSON."""
        printed = self.run(command, minutes=minutes, codes=codes)
        try:
            return json.loads(printed)
        except ValueError:
            raise StepError(f"no JSON came from {' '.join(str(part) for part in command[:6])} …") from None

    def _earlier(self, origin: dict[str, Any]) -> dict[str, Any] | None:
        try:
            document: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            raise SystemExit(f"{self.path} is damaged; delete it to measure again") from None
        same = all(document.get(key) == value for key, value in json.loads(json.dumps(origin)).items())
        return document if same else None


def python(module: Path | str, *arguments: object) -> list[object]:
    """A command of this interpreter."""
    start: list[object] = [module] if isinstance(module, Path) else ["-m", module]
    return [sys.executable, *start, *arguments]
