"""What is to be compared, and how, with every default. Imports nothing heavy: the command line shows the defaults."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torchless.errors import UsageError
from torchless_export.compare.recommend import Limits


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to measure: CPU `threads` per forward pass (None: all that this process may use), `seconds` of single images
    per round.
    """

    device: str = "auto"
    threads: int | None = None
    rounds: int = 3
    seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.rounds < 1 or not 0 < self.seconds < float("inf"):
            raise UsageError(f"rounds must be at least 1 and seconds above 0, got {self.rounds} and {self.seconds}")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to compare, and how. `measurements` is another machine's measurements.json, from which GPU times are taken.
    `weights` are for names that have to be exported; `published` says which weights'
    errors, by torchvision, to show for untrained models; `data`, `class_map` and `limit` are as for evaluate.
    """

    models: Sequence[str]
    weights: str = "DEFAULT"
    published: str = "DEFAULT"
    artifacts: Path = Path("artifacts")
    data: str | None = None
    class_map: Path | None = None
    limit: int | None = None
    measurements: Path | None = None
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.measurements is not None and self.settings.device not in ("auto", "cpu"):
            raise UsageError(
                f"`measurements` brings GPU times from another machine, and `device` {self.settings.device} asks for "
                "this one's; give one of them"
            )
