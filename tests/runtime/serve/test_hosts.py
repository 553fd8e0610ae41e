"""Which Host and Origin headers are taken, and under which path a server is reached."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.serve.conftest import Running, running
from tests.surroundings import PATIENCE_S

from torchless.errors import UsageError
from torchless.serve.hosts import Hosts, check_allowed
from torchless.serve.prefix import Prefix, check_root_path
from torchless.serve.settings import Settings

LOCAL = ["localhost", "LOCALHOST:8000", "localhost.", "cats.localhost", "127.0.0.1", "127.1.2.3:80", "[::1]:8000"]
FOREIGN = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.5", "[::2]"]
NO_HOST = ["", " ", "a b", "a,b", "localhost:", "localhost:x", "[::1", "http://localhost", "localhost/", "u@localhost"]


def status(hosts: Hosts, host: str, origin: str | None = None) -> int:
    refusal = hosts.refusal([host], [] if origin is None else [origin])
    return refusal[0] if refusal else 200


def test_without_keys_only_this_machine_and_what_was_given_is_answered_to() -> None:
    hosts = Hosts("127.0.0.1")
    assert {host: status(hosts, host) for host in LOCAL} == dict.fromkeys(LOCAL, 200)
    assert {host: status(hosts, host) for host in FOREIGN} == dict.fromkeys(FOREIGN, 421)
    assert {host: status(hosts, host) for host in NO_HOST} == dict.fromkeys(NO_HOST, 400)
    assert status(Hosts("10.0.0.5"), "10.0.0.5:8000") == 200
    assert status(Hosts("::2"), "[::2]:8000") == 200
    assert status(Hosts("box"), "box:8000") == 200


@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::", ""])
def test_on_every_address_any_address_is_answered_to_but_no_name(everywhere: str) -> None:
    """Of an address nobody can say that it is another's, as of a name."""
    hosts = Hosts(everywhere)
    assert [status(hosts, host) for host in ("10.0.0.5:8000", "[::2]", "localhost", "evil.example")] == [200] * 3 + [
        421
    ]


@pytest.mark.parametrize(
    ("allowed", "taken", "refused"),
    [
        ("cats.example", ["cats.example", "Cats.Example:8000"], ["dogs.example", "a.cats.example"]),
        ("cats.example:8443", ["cats.example:8443"], ["cats.example", "cats.example:80"]),
        ("*.example", ["a.example", "a.b.example:80"], ["example", "badexample"]),
        ("*", ["anything"], []),
        ("::2", ["[::2]:80"], ["[::3]"]),
    ],
)
def test_names_that_are_allowed(allowed: str, taken: list[str], refused: list[str]) -> None:
    hosts = Hosts("127.0.0.1", [allowed])
    assert [status(hosts, host) for host in [*taken, *refused]] == [200] * len(taken) + [421] * len(refused)
    assert status(Hosts("127.0.0.1", [allowed], any_host=True), "other.invalid") == (200 if allowed == "*" else 421)


def test_with_keys_any_one_host_will_do() -> None:
    hosts = Hosts("127.0.0.1", any_host=True)
    assert [status(hosts, host) for host in [*LOCAL, *FOREIGN]] == [200] * 13
    assert {status(hosts, host) for host in NO_HOST} == {400}


def test_one_host_header_and_only_http_1_0_may_have_none() -> None:
    hosts = Hosts("127.0.0.1", any_host=True)
    assert [hosts.refusal(["localhost"] * 2, [])[0], hosts.refusal([], [])[0]] == [400, 400]
    assert hosts.refusal([], [], old=True) is None
    assert hosts.refusal(["a", "a"], [], old=True) is not None


def test_an_origin_is_the_servers_own_or_allowed() -> None:
    hosts = Hosts("127.0.0.1", ["cats.example", "*.dogs.example", "*"], ["https://friend.example"])
    own = [("localhost:8000", "http://localhost:8000"), ("127.0.0.1:8000", "https://cats.example")]
    own += [("localhost", "https://friend.example"), ("x.example", "https://x.example"), ("a", "http://b.dogs.example")]
    assert [status(hosts, *pair) for pair in own] == [200] * 5
    foreign = ["null", "", "http://", "https://evil.example", "https://cats.example:8443", "http://localhost:3000"]
    assert [status(hosts, "localhost:8000", origin) for origin in foreign] == [403] * 6
    assert hosts.refusal(["localhost"], ["http://localhost", "null"])[0] == 403
    assert status(Hosts("", origins=["*"]), "localhost", "null") == 200


def test_a_refusal_names_the_operators_flag() -> None:
    hosts = Hosts("127.0.0.1")
    for refusal, flag in (
        (hosts.refusal(["evil.example"], []), "--allowed-host)"),
        (hosts.refusal(["localhost"], ["null"]), "--cors-origin)"),
    ):
        assert refusal is not None
        assert flag in refusal[1]


@given(st.lists(st.text(max_size=30), max_size=3), st.lists(st.text(max_size=30), max_size=3), st.booleans())
def test_no_headers_are_more_than_a_refusal(hosts: list[str], origins: list[str], old: bool) -> None:
    refusal = Hosts("127.0.0.1").refusal(hosts, origins, old=old)
    assert refusal is None or refusal[0] in (400, 403, 421)


@pytest.mark.parametrize("entry", ["", "http://a", "a/b", "a b", "a*", "*.*", "**", "a:b"])
def test_entries_that_are_no_hosts(entry: str) -> None:
    with pytest.raises(UsageError, match="`allowed_hosts`: .* is no name or address"):
        check_allowed(entry)


def ask(server: Running, text: bytes) -> bytes:
    with socket.create_connection(server.listener.getsockname(), timeout=PATIENCE_S) as connection:
        connection.sendall(text)
        return connection.recv(100_000)


def test_over_a_connection(served: Running) -> None:
    for host, answer in ((b"Host: evil.example\r\n", b"421"), (b"", b"400"), (b"Host: a\r\nHost: a\r\n", b"400")):
        for path in (b"/", b"/models", b"/v2/health/live"):
            got = ask(served, b"GET " + path + b" HTTP/1.1\r\n" + host + b"\r\n")
            assert got.startswith(b"HTTP/1.1 " + answer)
            assert b'{"error":"' in got
    assert ask(served, b"GET /models HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    got = ask(served, b"POST /classify HTTP/1.1\r\nHost:\r\nOrigin: null\r\nContent-Length: 0\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 400")


def test_the_prefix_of_a_request() -> None:
    prefix = Prefix("/cats/", ("127.0.0.1", "10.0.0.0/8"))
    header = [(b"x-forwarded-prefix", b"/dogs/")]
    assert prefix.split("/models", "127.0.0.1", []) == ("/cats", "/models")
    assert prefix.split("/cats/models", "127.0.0.1", []) == ("/cats", "/models")
    assert prefix.split("/cats", None, []) == ("/cats", "")
    assert prefix.split("/catsmodels", None, []) == ("/cats", "/catsmodels")
    assert prefix.split("/dogs/models", "10.1.2.3", header) == ("/dogs", "/models")
    assert prefix.split("/models", "::ffff:10.1.2.3", header) == ("/dogs", "/models")
    assert prefix.split("/models", "192.168.0.1", header) == ("/cats", "/models")
    for nonsense in (b"//evil.example", b"https://evil.example", b"/a b", b"/<", b"/v2", b"\xff"):
        assert prefix.split("/models", "10.1.2.3", [(b"x-forwarded-prefix", nonsense)]) == ("/cats", "/models")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"root_path": "cats"}, "`root_path`: 'cats' is no path"),
        ({"root_path": "//cats"}, "is no path"),
        ({"root_path": "/v2/cats"}, "is a path of the server's own"),
        ({"trusted_proxies": ("nginx",)}, "`trusted_proxies`: 'nginx' is no address or network"),
        ({"allowed_hosts": ("http://cats.example",)}, "`allowed_hosts`"),
    ],
)
def test_settings_that_make_no_sense(settings: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Settings(models=(), **settings)
    assert [check_root_path(path) for path in ("/", "/models/cats/")] == ["", "/models/cats"]


def test_a_bare_prefix_leads_to_the_page(tiny: Path) -> None:
    with running(tiny, root_path="/cats", api_keys=("0123456789abcdef",)) as server:
        answer = server.client.get("/cats")
        assert (answer.status_code, answer.headers["location"]) == (308, "/cats/")
        assert server.client.get("/cats/docs").status_code == server.client.get("/docs").status_code == 200
        assert server.client.get("/cats/models").status_code == server.client.get("/models").status_code == 401
        key = {"authorization": "Bearer 0123456789abcdef"}
        assert server.client.get("/cats/models", headers=key).json()[0]["name"] == "tiny"


def test_the_flags(
    tiny: Path, command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchless.serve import server

    seen = []
    monkeypatch.setattr(server.Server, "run", lambda self, sockets: seen.append(self._settings))
    flags = ("--allowed-host", "a.example", "--allowed-host", "b", "--root-path", "/c", "--trusted-proxy", "10.0.0.0/8")
    assert command_line("torchless", "serve", tiny, "--port", 0, "--device", "cpu", *flags)[0] == 0
    assert (seen[0].allowed_hosts, seen[0].root_path) == (("a.example", "b"), "/c")
    assert seen[0].trusted_proxies == ("10.0.0.0/8",)
    code, _, err = command_line("torchless", "serve", tiny, "--allowed-host", "http://a")
    assert (code, "--allowed-host: 'http://a' is no name" in err) == (2, True)
