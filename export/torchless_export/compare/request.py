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
    """What to compare, and how. `weights` are for names that have to be exported; `published` says which weights'
    errors, by torchvision, to show for untrained models; `data`, `class_map` and `limit` are as for evaluate.
    """

    models: Sequence[str]
    weights: str = "DEFAULT"
    published: str = "DEFAULT"
    artifacts: Path = Path("artifacts")
    data: str | None = None
    class_map: Path | None = None
    limit: int | None = None
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)
