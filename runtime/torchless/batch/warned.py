"""The warnings in the rows of a run: told once, not once for each image."""

from torchless.engine.results import Result
from torchless.process import tell
from torchless.text import printable


class Warnings:
    """How many rows of a run have a warning, and what the first of them says. A row is a Result, or has both itself:
    `warned` and `first_warning`.
    """

    def __init__(self) -> None:
        self.warned, self.first_warning = 0, ""

    def add(self, row: object) -> None:
        """Counts a row."""
        if isinstance(row, Result):
            warned = int(row.warning is not None)
            first = f"{printable(row.image or 'the image')}: {row.warning}"
        else:
            warned, first = getattr(row, "warned", 0), getattr(row, "first_warning", "")
        self.first_warning = self.first_warning or first if warned else self.first_warning
        self.warned += warned

    def tell(self) -> None:
        """Tells the user, in one line, if there was any."""
        if self.warned == 1:
            tell(f"warning: {self.first_warning}")
        elif self.warned:
            tell(f"warning: {self.warned:,} images have a warning in their row; the first is {self.first_warning}")
