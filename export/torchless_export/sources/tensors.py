"""Tensors into modules: whether they fit, what kind cannot be loaded, and a hash over what was."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from torchless.errors import first_line
from torchless_export.errors import WeightsError
from torchless_export.sources.checkpoint import Shapes, State, is_counter, some

_UNQUANTISED = (
    "Quantising made other layers of the network's. Give its float weights from before, and make an int8 file of their "
    "export with torchless quantize; in the training script:\n    torch.save(float_model.state_dict(), FILE)"
)
_DENSE = (
    "Save them dense:\n    state = torch.load(FILE, map_location='cpu')\n"
    "    state = {name: value.to_dense() for name, value in state.items()}\n    torch.save(state, NEW_FILE)"
)
_WITH_VALUES = (
    "They have a shape and no values: the network was saved before its weights were there. Load them first:\n"
    "    model.to_empty(device='cpu')\n    model.load_state_dict(weights)\n    torch.save(model.state_dict(), FILE)"
)
_FLOATS = "The network's are floats; if it was quantised in a way of its own, give the weights from before that"


def load_into(module: nn.Module, state: State, path: Path, hint: str = "") -> None:
    """Loads every tensor into `module`. Raises WeightsError that names the first keys and shapes that do not fit, and
    ends with `hint`; or the kind of tensor that cannot be loaded.
    """
    own = tensors_of(module)
    if problems := mismatches(state, {key: tuple(value.shape) for key, value in own.items()}):
        raise WeightsError(f"the checkpoint {path} does not fit the model: {problems}{hint}")
    check_kind(state, path, own)
    # The names fit the module of today, so its own versions hold; MNASNet loads nothing without one.
    versioned = OrderedDict(state)
    versioned._metadata = getattr(module.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    try:
        module.load_state_dict(versioned, strict=False)  # what mismatches lets be missing
    except Exception as error:  # whatever a module of the user's raises
        raise WeightsError(f"the checkpoint {path} does not fit the model: {_last_line(error)}") from error


def tensors_of(module: nn.Module) -> State:
    """The module's state dict without what is no tensor; some modules keep other things in it."""
    return {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def mismatches(state: State, wanted: Shapes) -> str:
    """In words, how `state` differs from a state dict of names and shapes `wanted`; "" if it does not."""
    missing = [key for key in wanted if key not in state and not is_counter(key)]
    surplus = [key for key in state if key not in wanted]
    shapes = [
        f"{key} ({shape_text(value.shape)} in the file, {shape_text(wanted[key])} in the model)"
        for key, value in state.items()
        if key in wanted and wanted[key] != tuple(value.shape)
    ]
    findings = (("missing from the file", missing), ("not in the model", surplus), ("of another shape", shapes))
    return "; ".join(f"{len(names)} {what}: {some(names)}" for what, names in findings if names)


def check_kind(state: State, path: Path, own: State | None = None) -> None:
    """Raises WeightsError for quantised, sparse and meta tensors, and for integers where the module's `own` tensors are
    floats: names them, and says how to make a plain state dict of them.
    """
    for kind, names, way in _kinds(state, own or {}):
        if names:
            raise WeightsError(f"{path} holds {kind} tensors: {len(names)}, {some(names)}. {way}")


def fingerprint(module: nn.Module) -> str:
    """The SHA-256 of the module's weights, in hexadecimal: of every tensor's name, dtype, shape and bytes, in order."""
    digest = hashlib.sha256()
    for name, value in tensors_of(module).items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape for a message: 64×3×7×7."""
    return "×".join(map(str, shape)) or "scalar"


def _kinds(state: State, own: State) -> list[tuple[str, list[str], str]]:
    """Each kind of tensor that cannot be loaded, the names of those, and the way out."""
    return [
        ("quantised", [name for name, value in state.items() if value.is_quantized], _UNQUANTISED),
        ("sparse", [name for name, value in state.items() if value.layout != torch.strided], _DENSE),
        ("meta", [name for name, value in state.items() if value.is_meta], _WITH_VALUES),
        (
            "integer or complex",
            [
                name
                for name, value in state.items()
                if name in own and own[name].is_floating_point() and not value.is_floating_point()
            ],
            _FLOATS,
        ),
    ]


def _last_line(error: Exception) -> str:
    """torch puts a heading before the reason."""
    return first_line(Exception(str(error).strip().rpartition("\n")[2].strip()))
