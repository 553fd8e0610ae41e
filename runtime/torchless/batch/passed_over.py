"""What a listing of images leaves out: files that are no images by their names, folders it does not look into."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import field
from pathlib import PurePath

from torchless.engine.results import Input
from torchless.image.formats import is_image_name, is_unread_image_name
from torchless.records import dataclass
from torchless.text import printable

_NAMED, _LONGEST = 6, 12  # endings in the line, characters of an ending
_NO_ENDING, _OTHER = "without an ending", "others"
_FOLDERS = (
    "1 subfolder was not looked into (`recursive` does)",
    "{} subfolders were not looked into (`recursive` does)",
)
_LINKS = ("1 link to a folder was not followed", "{} links to folders were not followed")
_HIDDEN = ("1 hidden image was left out", "{} hidden images were left out")


@dataclass
class PassedOver:
    """Counts what is left out. With `strict` it is not counted, but each has a row with an error.

    Other hidden files than images are neither: file managers leave them everywhere.
    """

    strict: bool = False
    endings: Counter[str] = field(default_factory=Counter)
    others: Counter[tuple[str, str]] = field(default_factory=Counter)

    def image_or_other(self, name: str, image: Input) -> Iterator[Input]:
        """`image` if the file `name` is one by its name; otherwise nothing, or an error."""
        base = name.rstrip("/").rpartition("/")[2]
        is_image = is_image_name(base) or is_unread_image_name(base)
        if not base.startswith("."):
            yield from (image,) if is_image else self._file(image.name or name, base)
        elif is_image and not base.startswith("._"):  # which are macOS's notes on files
            yield from self._other(_HIDDEN, image.name or name, "a hidden file; name it itself to have it classified")

    def folder(self, name: str) -> Iterator[Input]:
        """A folder that is not looked into."""
        yield from self._other(_FOLDERS, name, "a subfolder that was not looked into")

    def link(self, name: str) -> Iterator[Input]:
        """A link to a folder, which might lead in a circle."""
        yield from self._other(_LINKS, name, "a link to a folder, which is not followed")

    def add(self, more: "PassedOver") -> None:
        """Adds what another listing left out."""
        self.endings += more.endings
        self.others += more.others

    def lines(self) -> list[str]:
        """A line for files that are no images, such as "12 files are no images: .txt 10, .xml 2"; then the rest."""
        rest = [_one_or_many(kind, self.others[kind]) for kind in (_FOLDERS, _LINKS, _HIDDEN) if self.others[kind]]
        return [*self._endings_line(), *rest]

    def nothing_in(self, place: str) -> str:
        """The error of a place in which everything was left out."""
        held = "; ".join(self.lines()).replace("`recursive`", "--recursive") or "it is empty"  # a row
        return f"no image in {place}: {held}"

    def _endings_line(self) -> Iterator[str]:
        if total := self.endings.total():
            named = self.endings.most_common(_NAMED if len(self.endings) > _NAMED + 1 else None)
            rest = total - sum(number for _, number in named)
            listed = [f"{ending} {number:,}" for ending, number in [*named, (_OTHER, rest)] if number]
            head = _one_or_many(("1 file is no image", "{} files are no images"), total)
            yield f"{head}: {', '.join(listed)}"

    def _file(self, name: str, base: str) -> Iterator[Input]:
        ending = PurePath(base).suffix.lower()
        shown = printable(ending) if len(ending) <= _LONGEST else _OTHER
        if self.strict:
            yield Input(name, None, f"not an image: its name ends in {shown}" if ending else "not an image by its name")
        else:
            self.endings[shown or _NO_ENDING] += 1

    def _other(self, kind: tuple[str, str], name: str, error: str) -> Iterator[Input]:
        if self.strict:
            yield Input(name, None, error)
        else:
            self.others[kind] += 1


def _one_or_many(texts: tuple[str, str], number: int) -> str:
    return texts[0] if number == 1 else texts[1].format(f"{number:,}")
