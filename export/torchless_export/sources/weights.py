"""torchvision's pretrained weights, through torchvision's own loading code, with advice when they are not available."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlparse

import torch
import torchvision
from torch import nn

from torchless.model.artifact import sha256_of
from torchless.process import is_terminal
from torchless_export.errors import WeightsError

MIRROR_VARIABLE = "TORCHLESS_WEIGHTS_MIRROR"
_TIMEOUT_S = 60.0
_HASH = re.compile(r"-([0-9a-f]{8,})\.")  # as in torch.hub: resnet50-11ad3fa6.pth


def pretrained(model: str, weights: Any) -> tuple[nn.Module, str]:
    """A torchvision model with the weights of a WeightsEnum member, and the SHA-256 of the file they came from.

    The file is taken from torch's cache (TORCH_HOME), else from the mirror, else from torchvision's own address; its
    name contains the beginning of its hash, which is checked each time. Raises WeightsError with advice.
    """
    path = cache_path(weights)
    try:
        with _own_rules():
            if not path.exists():
                _download(_address(weights, path.name), path)
            digest = _check_hash(path)
            module: nn.Module = torchvision.models.get_model(model, weights=weights)
        return module, digest
    except WeightsError:
        raise
    except Exception as error:  # URLError, OSError, a wrong hash as RuntimeError, a damaged file as anything at all
        if isinstance(error, HTTPError):
            error.close()
        raise WeightsError(_advice(weights, path, error)) from error


def cache_path(weights: Any) -> Path:
    """Where torch.hub keeps the file of these weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name


@contextmanager
def _own_rules() -> Iterator[None]:
    """torch.hub may print on stdout, wait forever, and unpickle code; here it prints on stderr, waits a minute, and
    runs no code.
    """
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


def _download(url: str, path: Path) -> None:
    """It gets its name only when it is complete and has the hash that its name promises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(url, str(path), _promised_hash(path), progress=is_terminal(sys.stderr))


def _address(weights: Any, name: str) -> str:
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return str(weights.url)
    base = mirror if "://" in mirror else Path(mirror).resolve().as_uri()
    return f"{base.rstrip('/')}/{name}"


def _check_hash(path: Path) -> str:
    """torch.hub checks a download, but not a file that was in the cache before."""
    digest, promised = sha256_of(path), _promised_hash(path)
    if promised is not None and not digest.startswith(promised):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 begins with {digest[:8]}, its name promises {promised}; delete it "
            f"and try again"
        )
    return digest


def _promised_hash(path: Path) -> str | None:
    found = _HASH.search(path.name)
    return found[1] if found is not None else None


def _advice(weights: Any, path: Path, error: Exception) -> str:
    mirror = os.environ.get(MIRROR_VARIABLE)
    state = f" (the file {path} is there, but cannot be loaded; delete it if it is damaged)" if path.exists() else ""
    return (
        f"cannot get the weights {weights}: {error}{state}\n"
        f"They come from {weights.url}{f', through {MIRROR_VARIABLE}={mirror}' if mirror else ''}. What you can do:\n"
        f"  - put that file at {path} by hand\n"
        f"  - set {MIRROR_VARIABLE} to a URL or folder that holds torchvision's files under their own names\n"
        f"  - take a state dict of your own: `checkpoint` FILE\n"
        f"  - export the network without trained weights: `weights` none (make export: WEIGHTS=none)"
    )
