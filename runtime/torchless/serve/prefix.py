"""The path under which a proxy shows the server: what links and documents begin with, and requests may."""

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress

from torchless.errors import UsageError

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")  # never "//name", which a browser takes for another host
_HEADER = b"x-forwarded-prefix"
_OWN = frozenset({"/classify", "/models", "/metrics", "/docs", "/openapi.json", "/page", "/v2"})
_OWN_FOLDERS = "/v2/", "/page/"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Prefix:
    """`root_path` is the prefix unless a proxy of `trusted` names another in X-Forwarded-Prefix."""

    def __init__(self, root_path: str, trusted: Sequence[str]) -> None:
        self._root_path, self._trusted = check_root_path(root_path), [check_proxy(entry) for entry in trusted]

    def split(self, path: str, client: str | None, headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, str]:
        """The prefix of a request, "" or "/…", and its path without it: proxies pass on either. The path is "" if the
        request is for the bare prefix.
        """
        prefix = self._root_path
        forwarded = [value for name, value in headers if name == _HEADER]
        if forwarded and self._trusts(client):
            with suppress(UsageError):
                prefix = check_root_path(forwarded[-1].decode("latin-1").strip())
        inside = prefix and (path == prefix or path.startswith(f"{prefix}/"))
        return prefix, path[len(prefix) :] if inside else path

    def _trusts(self, client: str | None) -> bool:
        try:
            address = ipaddress.ip_address((client or "").partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self._trusted)


def check_root_path(path: str) -> str:
    """The prefix without a slash at its end. Raises UsageError."""
    prefix = path.rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(f"`root_path`: {path!r} is no path such as /cats")
    if prefix in _OWN or prefix.startswith(_OWN_FOLDERS):
        raise UsageError(f"`root_path`: {path!r} is a path of the server's own; choose another")
    return prefix


def check_proxy(entry: str) -> Network:
    """The network of an entry of `trusted_proxies`. Raises UsageError."""
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise UsageError(f"`trusted_proxies`: {entry!r} is no address or network such as 10.0.0.0/8") from None
