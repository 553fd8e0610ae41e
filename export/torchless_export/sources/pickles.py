"""What a checkpoint's pickle asks for besides tensors: plain values get stand-ins that do nothing; the rest is named.

No code of a pickle runs. numpy's own way of unpickling is not used either: it trusts what a crafted array says about
memory.
"""

import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple


class _Inert:
    """Stands for a value that no network needs: a number of numpy's, a path, a date, …"""

    def __init__(self, *_arguments: object) -> None:
        """Takes what the value is made from, and forgets it."""

    def __setstate__(self, state: object) -> None:
        """Forgets this too."""


class _Mapping:
    """Stands for a subclass of dict; what is put into it stays reachable."""

    def __new__(cls, *_arguments: object) -> Any:
        return {}


class _Sequence:
    """Stands for a deque."""

    def __new__(cls, *_arguments: object) -> Any:
        return []


_VALUES = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(
        "numpy.dtype",
        "numpy.ndarray",
        "argparse.Namespace",
        "types.SimpleNamespace",
        "torch.torch_version.TorchVersion",
    ),
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")  # of Python 3.13
        for name in ("Path", "PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")
    ),
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
)
_MAPPINGS = (
    "collections.defaultdict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)

# For torch.serialization.safe_globals: (stand-in, the name in the pickle).
STAND_INS: list[tuple[Callable[..., Any], str]] = [
    *((_Inert, name) for name in _VALUES),
    *((_Mapping, name) for name in _MAPPINGS),
    (_Sequence, "collections.deque"),
]

# What torch.load takes by itself with weights_only, as far as checkpoints contain it.
_TAKEN = {name for _, name in STAND_INS} | {
    *("collections.OrderedDict", "collections.Counter", "_codecs.encode"),
    *("builtins.set", "builtins.bytearray", "builtins.complex"),
}
_TAKEN_MODULES = (
    "torch",
    "torch._tensor",
    "torch._utils",
    "torch.nn.parameter",
    "torch.serialization",
    "torch.storage",
)
_OF_MODULES = ("torch.nn.modules.", "torch.nn.parallel.", "torchvision.models.", "timm.models.")
_BESIDE = ("state_dict", "model_state_dict")
# A file of the old format holds a magic number, a version and the system's sizes before the pickle that matters.
_PICKLES = 4
_OLD_MARK = "module"  # it writes this before each class of a module


class Pickled(NamedTuple):
    """`protocol` is the pickle's, 0 where there is none. `refused` are the names of what it asks for and torchless does
    not take, in order; `first` is the text right before the first of them, mostly its key; `root` says whether it is
    the whole file; `texts` are all texts.
    """

    protocol: int
    refused: tuple[str, ...]
    first: str | None
    root: bool
    texts: frozenset[str]

    @property
    def is_module(self) -> bool:
        """Whether a whole network is all that it holds: no state dict beside it, and no loss function only."""
        return self.texts.isdisjoint(_BESIDE) and any(
            name.startswith(_OF_MODULES) and ".loss." not in name for name in self.refused
        )


def examine(path: Path) -> Pickled:
    """Reads the instructions of a file's pickle without following them. Damaged files give what could be read."""
    refused: dict[str, None] = {}
    texts: list[str] = []
    first, root, alone, old = None, False, True, not archived(path)
    protocol = 0
    for opcode, value in _instructions(path):
        if opcode == "PROTO":
            protocol, texts, alone = value, [], True
        name = _global(opcode, value, texts)
        if name is not None and not _is_taken(name):
            if not refused:
                first, root = (texts[-1] if texts else None), alone
            refused[name] = None
        if isinstance(value, str) and name is None and not (old and value == _OLD_MARK):
            texts.append(value)
        alone = alone and opcode not in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "REDUCE")
    return Pickled(protocol, tuple(refused), first, root, frozenset(texts))


def archived(path: Path) -> list[str]:
    """The names in a zip archive; none for other and for damaged files."""
    return [entry.filename for entry in _entries(path)]


def unpacked_size(path: Path) -> int:
    """The bytes of everything in a zip archive; 0 for other and for damaged files."""
    return sum(entry.file_size for entry in _entries(path))


def _entries(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except Exception:  # zipfile may raise anything, depending on the bytes
        return []


def _instructions(path: Path) -> Iterator[tuple[str, Any]]:
    names = archived(path)
    try:
        if not names:
            with path.open("rb") as file:
                yield from _all_pickles(file)
            return
        with zipfile.ZipFile(path) as archive:
            for name in names:
                if name.endswith("/data.pkl"):
                    with archive.open(name) as inner:
                        yield from _all_pickles(inner)
    except Exception:  # a damaged pickle or archive may raise anything
        return


def _all_pickles(file: Any) -> Iterator[tuple[str, Any]]:
    for _ in range(_PICKLES):
        for opcode, value, _position in pickletools.genops(file):
            yield opcode.name, value


def _global(opcode: str, value: object, texts: list[str]) -> str | None:
    """The name that an instruction imports, as Python 3 calls it; None if it imports none."""
    if opcode == "STACK_GLOBAL":
        return ".".join(texts[-2:])
    if opcode not in ("GLOBAL", "INST"):
        return None
    module, _, name = str(value).partition(" ")
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _is_taken(name: str) -> bool:
    return name in _TAKEN or name.rpartition(".")[0] in _TAKEN_MODULES
