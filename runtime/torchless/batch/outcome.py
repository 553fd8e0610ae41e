"""How a run over many images ended, and what a person is told of it."""

from collections.abc import Iterator
from pathlib import Path

from torchless.process import INTERRUPTED
from torchless.records import dataclass
from torchless.text import printable

NAMED = 5  # failed images


@dataclass(frozen=True)
class Outcome:
    """How many `rows` there are and how many of them `failed`; after Ctrl-C, those so far and where they are
    `kept_in`.

    `failures` names the first few failed images, each with its error. `new` rows were made by this run, in `seconds`.
    `notes` are lines for people, such as what was passed over. `output` is where the rows went, None for stdout;
    `shown` says that this is a terminal, where the user has read every row.
    """

    rows: int
    failed: int
    interrupted: bool = False
    kept_in: tuple[Path, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    new: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    output: Path | None = None
    shown: bool = False

    @property
    def exit_code(self) -> int:
        """0 where all images are done, 1 where some failed, 130 after Ctrl-C."""
        return INTERRUPTED if self.interrupted else int(self.failed > 0)

    def interruption(self, noun: str, hint: str) -> str:
        """What an interrupted run leaves or, if it leaves nothing, `hint`. `noun` says what the rows are."""
        done = f": {self.rows} {noun} are done" if self.rows else ""
        kept = (
            f", and kept in {' and '.join(map(str, self.kept_in))}: the same command with `resume` continues from there"
        )
        return f"interrupted{done}{kept if self.kept_in else hint}"

    def failure_lines(self) -> Iterator[str]:
        """The first failed images with their reasons, a line each."""
        for name, error in self.failures:
            yield printable(f"failed: {error}" if name in error else f"failed: {name}: {error}")
        if self.failed > len(self.failures) > 0:
            yield f"failed: {self.failed - len(self.failures):,} more; their rows have the reasons"

    def summary(self, noun: str) -> str:
        """Such as "398 done, 2 failed → labels.csv, 12.4 s, 32 images/s"; `noun` says what the rows are."""
        done = f"{self.rows - self.failed:,} done"
        earlier = f" ({self.rows - self.new:,} of all by an earlier run)" if self.new < self.rows else ""
        failed = f", {self.failed:,} failed" if self.failed else ""
        where = f" → {printable(str(self.output))}" if self.output is not None else ""
        rate = f", {_rate(self.new / self.seconds)} {noun}/s" if self.new > 1 and self.seconds else ""
        return f"{done}{failed}{earlier}{where}, {_duration(self.seconds)}{rate}"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _duration(seconds: float) -> str:
    """12.4 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
