"""Changed checkpoints; among them pickles that would run code, if anything ran them."""

import io
import json
import pickle
import pickletools
import struct
import zipfile
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import save
from tests import models
from tests.fuzz.mutate import mutated, mutated_json

# Whoever runs one of the pickles makes this file, in the folder that is the working directory.
MARKER = "a-pickle-ran"
_CODE = f"open({MARKER!r}, 'w').close()"


class _Call:
    """Pickled, it is a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._called = function, arguments

    def __reduce__(self) -> Any:
        return self._called


@cache
def seeds() -> tuple[bytes, ...]:
    """One state dict as torch saves it, as torch once did, wrapped as training scripts do, and as safetensors."""
    state = models.network().state_dict()
    return (
        _saved(state),
        _saved(state, _use_new_zipfile_serialization=False),
        _saved({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}),
        save({key: value.contiguous() for key, value in state.items()}),
    )


def mutated_checkpoint(random: Random) -> tuple[bytes, str]:
    """The bytes, and the suffix of their file."""
    kind = random.randrange(10)
    if kind < 4:
        data = mutated(random, random.choice(seeds()), seeds())
    elif kind < 6:
        data = malicious(random)
    elif kind < 8:
        data = _other_state(random)
    else:
        data = _safetensors(random)
        return data, ".safetensors" if random.random() < 0.9 else ".pth"
    return data, ".safetensors" if random.random() < 0.1 else ".pth"


def malicious(random: Random) -> bytes:
    """A pickle that makes MARKER when it is run, as a checkpoint."""
    gadget = random.choice(_gadgets())
    content: Any = random.choice(
        (gadget, {"a": gadget}, {"state_dict": {"0.weight": torch.zeros(1), "x": gadget}}, [gadget] * 3)
    )
    protocol = random.choice((0, 1, 2, 3, 4, 5))
    match random.randrange(4):
        case 0:
            data = _saved(content, pickle_protocol=max(2, protocol))
        case 1:
            data = _saved(content, _use_new_zipfile_serialization=False, pickle_protocol=max(2, protocol))
        case 2:
            data = pickle.dumps(gadget, protocol=protocol)
        case _:
            data = _with_pickle(seeds()[0], pickle.dumps(gadget, protocol=protocol))
    return mutated(random, data, most=1) if random.random() < 0.2 else data


def pickles() -> list[bytes]:
    """The gadgets alone, each a pickle."""
    return [pickle.dumps(gadget) for gadget in _gadgets()]


def runs_code(pickled: bytes) -> bool:
    """Whether the pickle calls something when it is loaded."""
    return any(opcode.name == "REDUCE" for opcode, _, _ in pickletools.genops(pickled))


def _gadgets() -> tuple[_Call, ...]:
    import builtins
    import os
    import subprocess
    from functools import partial

    return (
        _Call(builtins.exec, _CODE),
        _Call(builtins.eval, _CODE),
        _Call(os.system, f"touch {MARKER}"),
        _Call(subprocess.check_call, ["touch", MARKER]),
        _Call(partial(Path.touch, Path(MARKER))),
        _Call(open, MARKER, "w"),
        _Call(torch.serialization.load, MARKER),
        _Call(torch.save, {}, MARKER),
        _Call(getattr, "text", "upper"),
        _Call(torch.hub.load, ".", MARKER),
    )


def _saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _with_pickle(checkpoint: bytes, pickled: bytes) -> bytes:
    """The checkpoint with another data.pkl."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(checkpoint)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("data.pkl") else old.read(name))
    return stream.getvalue()


def _other_state(random: Random) -> bytes:
    """A state dict in order, of tensors that are not."""
    state: dict[Any, Any] = dict(models.network().state_dict())
    key = random.choice([name for name, value in state.items() if value.ndim])
    value = state[key].float()
    choices: tuple[Any, ...] = (
        value.to(torch.complex64), value.to(torch.float16), value.to(torch.bool), value.double(),
        torch.nn.Parameter(value), value.to_sparse(), value.reshape(-1), value[:0], value * float("nan"),
        torch.zeros(1).expand(2**40), torch.zeros(2, dtype=torch.int64), "text", None, [value],
        torch.empty(3, device="meta"), torch.quantize_per_tensor(value, 0.1, 0, torch.quint8), {"nested": value},
        10**400, torch.zeros(1).as_strided((3, 3), (0, 0)),
        torch.sparse_coo_tensor(torch.zeros((1, 1), dtype=torch.int64), torch.ones(1), (2**40,)),
    )  # fmt: skip
    match random.randrange(4):
        case 0:
            del state[key]
        case 1:
            state[random.choice((0, None, ("a",), "", "." * 1000, "a.b.c", "é\0"))] = state.pop(key)
        case _:
            state[key] = random.choice(choices)
    return _saved(random.choice((state, {"state_dict": state}, [state], {"model": {"model": state}})))


def _safetensors(random: Random) -> bytes:
    data = seeds()[-1]
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    text = mutated_json(random, header)
    size = len(text) if random.random() < 0.8 else random.choice((0, 2**40, 2**63, 2**64 - 1, len(text) - 1))
    return struct.pack("<Q", size) + text + (body if random.random() < 0.8 else mutated(random, body))
