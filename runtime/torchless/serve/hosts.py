"""Which names a server answers to, and from which pages it takes requests.

A page on the internet can let a name of its own point to this machine (DNS rebinding). To a browser that page and this
server are then of one origin, and only the Host header tells.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from torchless.errors import UsageError

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:/?#@\[\]\\,\"]+)(?::(\d{1,5}))?", re.IGNORECASE)
_ANY = "*"
_LONGEST, _REMEMBERED = 80, 64


class Hosts:
    """The rules of one server. `listening` is the address it listens on, `allowed` are names and addresses that it was
    given beside that (`*.example.org` is every name below it, `*` any at all), `origins` those of other pages that may
    use it (`*`: all). With `any_host` a Host header only has to be there: API keys keep strangers out.
    """

    def __init__(
        self, listening: str, allowed: Sequence[str] = (), origins: Sequence[str] = (), *, any_host: bool = False
    ) -> None:
        self._allowed = [check_allowed(entry) for entry in allowed]
        names = {name for name, port in self._allowed if not port}
        self._any_host = (any_host and not allowed) or _ANY in names
        self._any_address = _is_wildcard(listening)
        self._own = split(listening if listening.count(":") < 2 else f"[{listening.strip('[]')}]") or ("", "")
        self._origins = frozenset(origins)
        self._answers_to = lru_cache(_REMEMBERED)(self._may_answer_to)

    def refusal(self, hosts: Sequence[str], origins: Sequence[str], *, old: bool = False) -> tuple[int, str] | None:
        """The status and the reason if a request with these Host and Origin headers is refused. `old`: it is of HTTP
        1.0, which needs no Host.
        """
        if len(hosts) != 1 and not (old and not hosts):
            return 400, f"a request needs one Host header, this one has {len(hosts) or 'none'}"
        host = split(hosts[0]) if hosts else None
        if hosts and host is None:
            return 400, f"the Host header is no name or address: {hosts[0][:_LONGEST]!r}"
        if host is not None and not self._answers_to(*host):
            return 421, (
                f"this server does not answer to the host {host[0][:_LONGEST]!r}: its operator can allow it "
                "(--allowed-host), or require API keys"
            )
        if not all(self._is_own(origin, host) for origin in origins):
            return 403, "requests from pages of another origin are refused (its operator can allow one: --cors-origin)"
        return None

    def _may_answer_to(self, name: str, port: str) -> bool:
        return self._any_host or _is_loopback(name) or name == self._own[0] or self._is_allowed(name, port) or (
            self._any_address and _address(name) is not None
        )  # fmt: skip

    def _is_allowed(self, name: str, port: str, *, any_port: bool = True) -> bool:
        return any(
            (port == wanted_port or (any_port and not wanted_port)) and _matches(name, wanted)
            for wanted, wanted_port in self._allowed
        )

    def _is_own(self, origin: str, host: tuple[str, str] | None) -> bool:
        """A browser sends simple requests to other origins without asking; it only hides the response from the page.

        The server's own page may come through a proxy that changes the Host header, under an allowed name.
        """
        if origin in self._origins or _ANY in self._origins:
            return True
        page = split(origin.partition("://")[2])
        return page is not None and (page == host or self._is_allowed(*page, any_port=False))


def split(authority: str) -> tuple[str, str] | None:
    """("example.org", "8000") of "Example.org:8000": a lower-case name or an address, without brackets, and the port,
    "" if there is none; None if it is neither.
    """
    found = _AUTHORITY.fullmatch(authority)
    return (found[1].strip("[]").lower().removesuffix("."), found[2] or "") if found else None


def check_allowed(entry: str) -> tuple[str, str]:
    """The name and the port of an entry of `allowed_hosts`. Raises UsageError."""
    bare = entry.count(":") > 1 and not entry.startswith("[")  # an IPv6 address
    found = split(f"[{entry}]" if bare else entry)
    if found is None or (found[0] != _ANY and _ANY in found[0].removeprefix("*.")):
        raise UsageError(
            f"`allowed_hosts`: {entry!r} is no name or address of a host; give it as example.org, *.example.org, "
            "10.0.0.5 or example.org:8443"
        )
    return found


def _matches(name: str, wanted: str) -> bool:
    return name == wanted or (wanted.startswith("*.") and name.endswith(wanted[1:]))


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    if address is None:
        return name == "localhost" or name.endswith(".localhost")
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _is_wildcard(listening: str) -> bool:
    """Whether a server that listens there does so on every address of its machine, whichever they are."""
    address = _address(listening.strip("[]"))
    return not listening or (address is not None and address.is_unspecified)
