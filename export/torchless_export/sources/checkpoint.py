"""State dicts in files, as training scripts leave them: wrapped, prefixed, beside an averaged copy. No code in them is
ever run.
"""

import argparse
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import nn

from torchless.errors import first_line
from torchless_export.errors import WeightsError

State = dict[str, torch.Tensor]

# Where training scripts put the weights; an averaged copy (EMA) comes before the plain one, since that is what they
# evaluate and publish.
_WRAPPERS = (
    "model_ema",
    "state_dict_ema",
    "ema",
    "ema_state_dict",
    "state_dict",
    "model",
    "model_state_dict",
    "net",
    "weights",
)


class Checkpoint(NamedTuple):
    """The weights found in a file, and the key they were under, None for a file that holds nothing else."""

    state: State
    key: str | None


def read_checkpoint(path: Path, *, key: str | None = None) -> Checkpoint:
    """The tensors in a checkpoint file, on the CPU; `key` chooses among several state dicts in it.

    Raises WeightsError if it is missing, damaged, or holds no state dict.
    """
    if not os.path.isfile(path):
        raise WeightsError(f"there is no checkpoint file {path}")
    try:
        content = _read(path)
    except Exception as error:  # torch and safetensors may raise anything, depending on the bytes
        raise WeightsError(
            f"cannot read the checkpoint {path}: {first_line(error)}; it takes a state dict, saved with "
            "torch.save(model.state_dict(), FILE) or safetensors.torch.save_file. Files that hold pickled code "
            "are refused"
        ) from error
    return _unwrap(content, path, key)


def strip_prefixes(state: State, wanted: Mapping[str, object]) -> State:
    """Removes what wrappers put before every name: `module.` (DataParallel), `_orig_mod.` (torch.compile), `model.`
    (Lightning), …

    `wanted` are the model's names; counters that an averaged copy adds outside the network are dropped.
    """
    while not state.keys() & wanted.keys():
        dotted = {name: value for name, value in state.items() if "." in name}
        first = {name.split(".", 1)[0] for name in dotted}
        if len(first) != 1:
            break
        state = {name.split(".", 1)[1]: value for name, value in dotted.items()}
    return state


def load_into(module: nn.Module, state: State, path: Path, hint: str = "") -> None:
    """Loads every tensor into `module`. Raises WeightsError that names the first keys and shapes that do not fit, and
    ends with `hint`.
    """
    own = module.state_dict()
    if problems := mismatches(state, {key: tuple(value.shape) for key, value in own.items()}):
        raise WeightsError(f"the checkpoint {path} does not fit the model: {problems}{hint}")
    try:
        module.load_state_dict(state)
    except Exception as error:  # quantised, sparse or meta tensors, which have the shape but cannot be copied
        raise WeightsError(f"the checkpoint {path} does not fit the model: {_last_line(error)}") from error


def fingerprint(module: nn.Module) -> str:
    """The SHA-256 of the module's weights, in hexadecimal: of every tensor's name, dtype, shape and bytes, in order."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if not isinstance(value, torch.Tensor):  # some modules keep other things beside their tensors
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def mismatches(state: State, wanted: Mapping[str, tuple[int, ...]]) -> str:
    """In words, how `state` differs from a state dict of names and shapes `wanted`; "" if it does not."""
    # Counters that old checkpoints lack and no evaluation reads; torch also lets them be missing.
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    surplus = [key for key in state if key not in wanted]
    shapes = [
        f"{key} ({_shape(value.shape)} in the file, {_shape(wanted[key])} in the model)"
        for key, value in state.items()
        if key in wanted and wanted[key] != tuple(value.shape)
    ]
    findings = (("missing from the file", missing), ("not in the model", surplus), ("of another shape", shapes))
    return "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in findings if names)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    # Training scripts store their arguments beside the weights; a Namespace holds plain values only.
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(content: Any, path: Path, key: str | None) -> Checkpoint:
    if key is not None:
        inner = content.get(key) if isinstance(content, Mapping) else None
        if _is_state(inner):
            return Checkpoint(_tensors(inner), key)
        raise WeightsError(f"{path} holds no state dict under {key!r}, but {_kind_of(content)}")
    if _is_state(content):
        return Checkpoint(_tensors(content), None)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and _is_state(content.get(wrapper)):
            return Checkpoint(_tensors(content[wrapper]), wrapper)
    raise WeightsError(
        f"{path} holds no state dict (names and tensors) that could be found, but {_kind_of(content)}; "
        f"`checkpoint_key` points to one"
    )


def _is_state(content: Any) -> TypeGuard[Mapping[str, Any]]:
    """Names and tensors; a few plain numbers among them do not matter."""
    return isinstance(content, Mapping) and any(
        isinstance(value, torch.Tensor) and value.ndim > 0 for value in content.values()
    )


def _tensors(content: Mapping[str, Any]) -> State:
    return {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}


def _last_line(error: Exception) -> str:
    """torch puts a heading before the reason."""
    return first_line(Exception(str(error).strip().rpartition("\n")[2].strip()))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _kind_of(content: Any) -> str:
    return (
        f"a mapping with {_some([str(key) for key in content])}"
        if isinstance(content, Mapping)
        else f"a {type(content).__name__}"
    )
