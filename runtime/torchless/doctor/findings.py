"""What the doctor finds, and how pip is called to mend it."""

import shlex
import sys
from typing import Any

from torchless.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer to one question. `fix` is a shell command, None if everything is fine.

    `exit_code` is 0 if everything is fine, 1 for what only slows programs down, else that of the programs it would
    stop.
    """

    check: str
    message: str
    fix: str | None = None
    exit_code: int = 0

    @property
    def is_well(self) -> bool:
        return self.exit_code == 0

    def to_dict(self) -> dict[str, Any]:
        """What its JSON holds of it."""
        return {"check": self.check, "well": self.is_well, "message": self.message, "fix": self.fix}


def pip(*arguments: str) -> str:
    """The command that runs pip for the Python that is running now, whatever else is on the path."""
    return shlex.join([sys.executable, "-m", "pip", *arguments])
