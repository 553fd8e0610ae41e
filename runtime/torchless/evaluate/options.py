"""What `torchless evaluate` can be told. Importing it costs nothing: the command line takes its defaults from here."""

from pathlib import Path

from torchless.engine.options import ModelOptions
from torchless.records import dataclass


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of `torchless evaluate`, with the names and defaults of the command line."""

    model: Path
    data: Path
    class_map: Path | None = None
    limit: int | None = None
    against: Path | None = None
    confusion_matrix: Path | None = None
    output: Path | None = None
    resume: bool = False
    strict: bool = False
    opening: ModelOptions = ModelOptions()
    workers: int | None = None
    batch_size: int = 1

    @property
    def models(self) -> tuple[Path, ...]:
        return (self.model,) if self.against is None else (self.model, self.against)
