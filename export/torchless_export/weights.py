"""torchvision's pretrained weights, through torchvision's own loading code, with ways on when they cannot be had."""

import hashlib
import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn

from torchless_export.errors import WeightsError

MIRROR_VARIABLE = "TORCHLESS_WEIGHTS_MIRROR"
_TIMEOUT_S = 60.0


def pretrained(model: str, weights: Any) -> tuple[nn.Module, str]:
    """A torchvision model with the weights of a WeightsEnum member, and the SHA-256 of the file they came from.

    The file is taken from torch's cache (TORCH_HOME), else from the mirror, else from torchvision's own address; its name carries the
    beginning of its hash, which is checked each time. Raises WeightsError that names the ways on.
    """
    path = cache_path(weights)
    try:
        with _own_rules():
            if not path.exists() and (mirror := os.environ.get(MIRROR_VARIABLE)):
                torch.hub.load_state_dict_from_url(_mirrored(mirror, path.name), check_hash=True, weights_only=True)
            module: nn.Module = torchvision.models.get_model(model, weights=weights)
        return module, _check_hash(path)
    except WeightsError:
        raise
    except Exception as error:  # URLError, OSError, a wrong hash as RuntimeError, a damaged file as anything at all
        raise WeightsError(_ways_on(weights, path, error)) from error


def cache_path(weights: Any) -> Path:
    """Where torch.hub keeps the file of these weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _own_rules() -> Iterator[None]:
    """torch.hub reports on stdout, waits for ever, and may unpickle code; here it reports on stderr, waits a minute, and may not."""
    timeout, forced = socket.getdefaulttimeout(), os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    socket.setdefaulttimeout(_TIMEOUT_S)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        socket.setdefaulttimeout(timeout)
        if forced is None:
            del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        else:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = forced


def _mirrored(mirror: str, name: str) -> str:
    base = mirror if "://" in mirror else Path(mirror).resolve().as_uri()
    return f"{base.rstrip('/')}/{name}"


def _check_hash(path: Path) -> str:
    """torch.hub checks a download, but not a file that was in the cache before."""
    digest = sha256_of(path)
    wanted = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if wanted is not None and not digest.startswith(wanted[1]):
        raise WeightsError(f"{path} is damaged: its SHA-256 begins with {digest[:8]}, its name promises {wanted[1]}; delete it and try again")
    return digest


def _ways_on(weights: Any, path: Path, error: Exception) -> str:
    mirror = os.environ.get(MIRROR_VARIABLE)
    state = f" (the file {path} is there, but cannot be loaded; delete it if it is damaged)" if path.exists() else ""
    return (
        f"cannot get the weights {weights}: {error}{state}\n"
        f"They come from {weights.url}{f', by way of {MIRROR_VARIABLE}={mirror}' if mirror else ''}. Ways on:\n"
        f"  - put that file by hand at {path}\n"
        f"  - set {MIRROR_VARIABLE} to a URL or folder that holds torchvision's files under their own names\n"
        f"  - take a state dict of your own: --checkpoint FILE\n"
        f"  - export the network without trained weights: --weights none"
    )
