"""The server behind a real nginx, configured as docs/serving.md says. `make proxy` installs it."""

import io
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image
from tests.conftest import REPO
from tests.runtime.serve.conftest import running
from tests.server_process import free_port, wait_until
from tests.surroundings import PATIENCE_S

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
NAME, PREFIX = "cats.example.org", "/cats"
(DOCUMENTED,) = re.findall(r"^```nginx\n(.*?)^```$", (REPO / "docs/serving.md").read_text(), re.MULTILINE | re.DOTALL)
_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx(folder: Path, server: str, block: str = DOCUMENTED) -> Iterator[str]:
    """The address of an nginx that passes on to `server`, host:port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "these tests need nginx: make proxy"
    address = f"127.0.0.1:{free_port()}"
    block = block.replace("listen 80;", f"listen {address};").replace("127.0.0.1:8000", server)
    own = "\n".join(f"{name}_temp_path {folder}/{name};" for name in _FOLDERS)
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{own}\n{block} }}\n"
    )
    process = subprocess.Popen([program, "-p", folder, "-c", config, "-e", f"{folder}/log"])
    try:
        wait_until(lambda: process.poll() is not None or _listens(address))
        assert process.poll() is None, (folder / "log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _listens(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def photo() -> bytes:
    """More than the 1 MB that nginx takes by itself."""
    file = io.BytesIO()
    Image.new("RGB", (800, 800), (10, 200, 30)).save(file, "BMP")
    return file.getvalue()


def visit(address: str) -> dict[str, int]:
    """The status of what a visitor of cats.example.org gets; `foreign` and `rebound` come from a page of another."""
    base = f"http://{address}{PREFIX}"
    with httpx.Client(headers={"host": NAME}, timeout=PATIENCE_S) as client:
        found = {path: client.get(f"{base}/{path}").status_code for path in ("", "docs", "page/page.js", "models")}
        found["prefix"] = client.get(base).status_code
        post = {"own": f"https://{NAME}", "foreign": "https://evil.example"}
        for name, origin in post.items():
            found[name] = client.post(f"{base}/classify", content=photo(), headers={"origin": origin}).status_code
        found["rebound"] = client.get(f"{base}/models", headers={"host": "evil.example"}).status_code
    return found


WELL = dict.fromkeys(("", "docs", "page/page.js", "models", "own"), 200) | {"foreign": 403, "rebound": 421}


def test_as_documented(tiny: Path, tmp_path: Path) -> None:
    with running(tiny, allowed_hosts=(NAME,)) as server, nginx(tmp_path, server.address) as address:
        assert visit(address) == WELL | {"prefix": 301}
        document = httpx.get(f"http://{address}{PREFIX}/openapi.json", timeout=PATIENCE_S).json()
        assert document["servers"] == [{"url": PREFIX}]


def test_a_proxy_that_neither_takes_the_prefix_off_nor_names_it(tiny: Path, tmp_path: Path) -> None:
    block = re.sub(r"8000/;", "8000;", re.sub(r".*Forwarded-Prefix.*", "", DOCUMENTED))
    settings = {"allowed_hosts": (NAME,), "root_path": PREFIX}
    with running(tiny, **settings) as server, nginx(tmp_path, server.address, block) as address:
        assert visit(address) == WELL | {"prefix": 301}
        document = httpx.get(f"http://{address}{PREFIX}/openapi.json", timeout=PATIENCE_S).json()
        assert document["servers"] == [{"url": PREFIX}]


def test_a_proxy_that_does_not_pass_on_the_host(tiny: Path, tmp_path: Path) -> None:
    """Then nginx itself has to keep other names out."""
    block = re.sub(r".*http_host.*", "", DOCUMENTED)
    with running(tiny, allowed_hosts=(NAME,)) as server, nginx(tmp_path, server.address, block) as address:
        assert visit(address) == WELL | {"prefix": 301, "rebound": 200}
    with running(tiny) as server, nginx(tmp_path, server.address, block) as address:
        assert visit(address)["own"] == 403


def test_the_pages(tiny: Path, tmp_path: Path, photos: Path, open_page: Callable[..., "Page"]) -> None:
    from playwright.sync_api import expect

    with running(tiny) as server, nginx(tmp_path, server.address) as address:
        base = f"http://{address}{PREFIX}/"
        page = open_page(base, own=(base, "blob:"))
        page.set_input_files("#files", photos / "coffee.png")
        expect(page.locator(".predictions li")).to_have_count(5)
        page.get_by_role("link", name="API").click()
        expect(page.locator(".example pre").nth(1)).to_contain_text(f"{base}classify")
