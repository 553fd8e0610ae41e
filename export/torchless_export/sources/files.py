"""Reading a checkpoint file: what is in it decides how, not its ending. No code in it is ever run."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from torchless.errors import ArtifactError
from torchless.image.formats import format_of, name_other
from torchless.model.onnxfile import read_onnx
from torchless.text import megabytes, printable
from torchless_export.errors import NoCheckpointError, WeightsError
from torchless_export.sources.ahead import check_checkpoint
from torchless_export.sources.pickles import STAND_INS, Pickled, archived, examine, unpacked_size

# Under these keys, training scripts put the weights.
_USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "model_ema", "ema")

_MOST_UNPACKED, _HEAD = 20, 512
_PROTOCOL = 2  # of pickle, which torch.save takes and torch.load reads without running code
_DAMAGED = "it is damaged, or ends early; copy or download it again"
_OTHER_FILES = {
    b"": "it is empty",
    b"<!doctype": "it is a web page, so the download went wrong",
    b"<html": "it is a web page, so the download went wrong",
    b"version https://git-lfs": "it is Git LFS's note of a file; git lfs pull gets the file",
    b"\x89hdf": "it is an HDF5 file, as Keras writes",
}


def read_content(path: Path) -> Any:
    """What torch.save or safetensors put into the file, its tensors on the CPU; whatever else a training script left
    beside them is replaced by stand-ins.

    Raises WeightsError if the file is missing or damaged, and for files that hold something else than tensors: it says
    what they are, and how to make a state dict of them.
    """
    check_checkpoint(path)
    if unpacked_size(path) > _MOST_UNPACKED * path.stat().st_size:
        raise WeightsError(
            f"{path} would unpack to {megabytes(unpacked_size(path))}, more than {_MOST_UNPACKED} times its size; "
            "torch.save compresses nothing, so this is no checkpoint as it writes them"
        )
    if (program := _program(path)) is not None:
        raise WeightsError(program)
    try:
        return _read(path)
    except Exception as error:  # torch and safetensors may raise anything, depending on the bytes
        raise _refusal(path) from error


def _read(path: Path) -> Any:
    if _is_safetensors(path):
        from safetensors.torch import load_file

        return load_file(path)
    # An open file, since torch.load goes by the ending of a name.
    with path.open("rb") as file, warnings.catch_warnings(), torch.serialization.safe_globals(list(STAND_INS)):
        warnings.simplefilter("ignore")  # about quantised and sparse tensors, which are named later
        return torch.load(file, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    """Whether it begins as such a file does: the size of the header in eight bytes, and JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _program(path: Path) -> str | None:
    """What to say about archives that hold a program beside its weights; None for others."""
    names = archived(path)
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return f"{path} is a TorchScript program, not a state dict. This makes one of it:\n" + _code(
            f"module = torch.jit.load({str(path)!r}, map_location='cpu')",
            f"torch.save(module.state_dict(), {_target(path)!r})",
        )
    if "models/model.json" in inner or "serialized_exported_program.json" in names:
        return f"{path} is an exported program (torch.export), not a state dict. This makes one of it:\n" + _code(
            f"program = torch.export.load({str(path)!r})", f"torch.save(dict(program.state_dict), {_target(path)!r})"
        )
    return None


def _refusal(path: Path) -> WeightsError:
    """In words of our own: torch advises to run the code in the file."""
    if (advice := _advice(path)) is not None:
        return WeightsError(advice)
    damaged = _begins_as_a_checkpoint(path)
    kind = NoCheckpointError if not damaged else WeightsError
    return kind(
        f"cannot read the checkpoint {path}: {_DAMAGED if damaged else _other_file(path)}. A checkpoint is a state "
        "dict, saved with torch.save(model.state_dict(), FILE) or safetensors.torch.save_file"
    )


def _begins_as_a_checkpoint(path: Path) -> bool:
    """Whether it is of torch.save, in its new or old format, or of safetensors, as far as the beginning tells."""
    if names := archived(path):
        return any(name.endswith("data.pkl") for name in names)
    return _starts(path, b"pk\x03\x04") or _starts(path, b"\x80\x02") or _is_safetensors(path)


def _other_file(path: Path) -> str:
    """What a file is that is no checkpoint, by its content."""
    if (known := next((text for start, text in _OTHER_FILES.items() if _starts(path, start)), None)) is not None:
        return known
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if (image := format_of(head)) is not None:
        return f"it is an image ({image})"
    with suppress(ArtifactError):
        read_onnx(path)
        return "it is an ONNX model, which is what export makes of a checkpoint"
    other = name_other(head)
    return f"it is {other}" if other else "it does not begin as a checkpoint does"


def _advice(path: Path) -> str | None:
    """What to do with a checkpoint that holds more than tensors; None for what is none, or damaged."""
    pickled = examine(path)
    if pickled.is_module:
        return _whole_module(path, pickled)
    if pickled.protocol > _PROTOCOL:
        return (
            f"{path} is pickled in a way that torch.load reads only where code in the file may run, with another "
            "pickle_protocol for one. If you trust the file, save its content again:\n"
            + _code(
                f"content = torch.load({str(path)!r}, map_location='cpu', weights_only=False)",
                f"torch.save(content, {_target(path)!r})",
            )
        )
    if pickled.refused:
        return _other_objects(path, pickled)
    return None


def _starts(path: Path, start: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(start) or 1).lower() == start
    except OSError:
        return False


def _whole_module(path: Path, pickled: Pickled) -> str:
    inside = "" if pickled.root else f"[{pickled.first!r}]"
    return (
        f"{path} holds a whole pickled module ({printable(pickled.refused[0])}), not a state dict, and torchless never "
        "runs the code that would make it again. If you trust the file, and have the module's code at hand:\n"
        + _code(
            f"module = torch.load({str(path)!r}, map_location='cpu', weights_only=False){inside}",
            f"torch.save(module.state_dict(), {_target(path)!r})",
        )
    )


def _other_objects(path: Path, pickled: Pickled) -> str:
    names = [printable(name) for name in pickled.refused]
    key = next((key for key in _USUAL_KEYS if key in pickled.texts), "state_dict")
    return (
        f"{path} holds more than tensors and plain values: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}. "
        "Files that hold pickled code are refused, and none of it was run. If you trust the file, save its state dict "
        "alone:\n"
        + _code(
            f"content = torch.load({str(path)!r}, map_location='cpu', weights_only=False)",
            f"torch.save(content[{key!r}], {_target(path)!r})",
        )
    )


def _target(path: Path) -> str:
    return f"{path.stem}-state-dict.pth"


def _code(*lines: str) -> str:
    return "\n".join(f"    {line}" for line in ("import torch", *lines))
