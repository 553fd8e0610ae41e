"""What `infer` can be told. Importing it costs nothing: the command line takes its defaults from here."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torchless.batch.limits import Limits
from torchless.batch.outputs import Format
from torchless.engine.options import ModelOptions
from torchless.records import dataclass


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """The options of `infer`, with the names and defaults of the command line. `opening` is how the model is opened;
    `explain` gets lines about the model and each image; `max_expansion` and `timeout_s` are those of Limits.
    """

    model: Path
    images: tuple[str, ...]
    top_k: int | None = None
    format: Format | None = None
    output: Path | None = None
    resume: bool = False
    recursive: bool = False
    strict: bool = False
    explain: Callable[[str], None] | None = None
    opening: ModelOptions = ModelOptions()
    workers: int | None = None
    batch_size: int = 1
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    part_size: int = 1000
    max_expansion: float = Limits.max_expansion
    timeout_s: float = Limits.timeout_s

    @property
    def limits(self) -> Limits:
        """How much is read of files, archives and URLs."""
        most = self.opening.image_options.max_bytes
        return Limits(max_bytes=most, max_expansion=self.max_expansion, timeout_s=self.timeout_s)
