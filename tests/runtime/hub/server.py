"""A real HTTP server that can do what good and bad ones do: ranges, ETags, redirections; break off, lie, change its
mind."""

import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.surroundings import PATIENCE_S


@dataclass
class Site:
    """What is served, by path; `asked` has each request: its path and its headers. `cut` is after how many bytes of a
    body the next answers break off, one for each. `claims` is added to each Content-Length.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sent: int = 0
    cut: list[int] = field(default_factory=list)
    claims: int = 0
    has_ranges: bool = True
    waits: threading.Event | None = None

    def put(self, path: str, content: bytes, tag: str = '"1"') -> str:
        self.files[path], self.tags[path] = content, tag
        return f"{self.address}{path}"

    def put_hub(self, repo: str, files: dict[str, bytes], *, commit: str, hashes: dict[str, str] | None = None) -> None:
        """As Hugging Face's hub answers: a list of files for `main`, and the files under their commit."""
        listed = [
            {"rfilename": name} | ({"lfs": {"sha256": (hashes or {})[name]}} if name in (hashes or {}) else {})
            for name in files
        ]
        self.put(f"/api/models/{repo}/revision/main", json.dumps({"sha": commit, "siblings": listed}).encode(), "")
        for name, content in files.items():
            self.put(f"/{repo}/resolve/{commit}/{name}", content, f'"{commit}"')

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, path = self.site, self.path.partition("?")[0]
        site.asked.append((path, dict(self.headers.items())))
        if path in site.moved:
            self._answer(302, {"Location": site.moved[path], "Content-Length": "0"})
        elif path in site.status or path not in site.files:
            self._answer(site.status.get(path, 404), {"Content-Length": "0"})
        else:
            self._send(path, site.files[path], site.tags[path])

    def _send(self, path: str, content: bytes, tag: str) -> None:
        site = self.site
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and site.has_ranges and self.headers.get("If-Range") == tag else 0
        rest = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        length = {"Content-Length": str(len(content) - start + site.claims)}
        self._answer(206 if start else 200, rest | ({"ETag": tag} if tag else {}) | site.headers | length)
        if site.waits is not None:
            site.waits.wait(PATIENCE_S)
        is_cut = path.endswith(".onnx") and site.cut
        body = content[start:][: site.cut.pop(0)] if is_cut else content[start:]
        with suppress(OSError):  # who only wanted to know the tag has gone
            self.wfile.write(body)
            site.sent += len(body)
        self.close_connection = True

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running() -> Iterator[Site]:
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        site.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
