"""The commands that pages, messages and help texts suggest."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPO

PAGES = sorted(
    [
        REPO / "README.md",
        REPO / "CONTRIBUTING.md",
        *REPO.glob("docs/*.md"),
        *REPO.glob("examples/*/README.md"),
        REPO / "artifacts/README.md",
    ]
)
SOURCES = sorted([*REPO.glob("runtime/torchless/**/*.py"), *REPO.glob("export/torchless_export/**/*.py")])
_BLOCK = re.compile(r"^```\w*\n((?:.*\n)*?)```|((?:^ {4}.*\n|^\n)+)", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_PROGRAMS = ("torchless", "infer", "make", "pip")


@dataclass(frozen=True)
class Suggested:
    """A command, and the page or module that suggests it; `whole` where it is one to be typed as it is."""

    where: str
    words: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def on_pages() -> Iterator[Suggested]:
    """In code blocks and in code within lines."""
    for page in PAGES:
        text, name = page.read_text(encoding="utf-8"), str(page.relative_to(REPO))
        for block in _BLOCK.finditer(text):
            yield from in_lines(name, block[1] or block[2])
        prose = _BLOCK.sub("", text)
        for code in _INLINE.findall(prose):
            yield from (Suggested(name, words, False) for words in commands_in(" ".join(code.split())))


def in_lines(where: str, text: str) -> Iterator[Suggested]:
    """Each line that is a command."""
    for line in text.replace("\\\n", " ").splitlines():
        yield from (Suggested(where, words, True) for words in commands_in(line.strip().removeprefix("$ ")))


def commands_in(line: str) -> Iterator[tuple[str, ...]]:
    """`a && VARIABLE=1 b | c > d   # why` is a, b and c."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an apostrophe: no command
        return
    for part in re.split(
        r" (?:\|\||&&|\||;) ", " ".join(map(shlex.quote, words)).replace("'|'", "|").replace("'&&'", "&&")
    ):
        found = shlex.split(part.partition(" '>")[0].partition(" > ")[0])
        while found and re.match(r"[A-Z_]+=", found[0]):
            found = found[1:]
        if found and Path(found[0]).name in _PROGRAMS:
            yield (Path(found[0]).name, *found[1:])


def in_messages() -> Iterator[Suggested]:
    """`torchless VERB` in the strings of the sources, with the options that follow it in the same sentence."""
    for path in SOURCES:
        name, code = str(path.relative_to(REPO)), path.read_text(encoding="utf-8")
        for text in strings_of(ast.parse(code)) if "torchless " in code else ():
            for verb, rest in re.findall(r"\btorchless ([a-z][a-z-]*)([^.;:)\n]*)", text):
                options = re.findall(r"(?<!\S)(--[a-z0-9-]+)", rest.partition("torchless ")[0])
                yield Suggested(name, ("torchless", verb, *options), False)


def strings_of(tree: ast.AST) -> Iterator[str]:
    """All constants, and f-strings with X where they have an expression."""
    inner = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inner |= {id(part) for part in ast.walk(node) if part is not node}
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value
