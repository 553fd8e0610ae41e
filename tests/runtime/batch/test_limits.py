"""What does not end, or unpacks to much more than it is: a row with an error, and neither memory nor time for it."""

import bz2
import gzip
import io
import os
import socket
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.surroundings import PATIENCE_S

from torchless.batch import limits as limits_module
from torchless.batch import unpacking
from torchless.batch.inputs import expand
from torchless.batch.limits import Limits
from torchless.engine.results import Input
from torchless.errors import ArtifactNotFoundError, ImageError, SignatureError
from torchless.image.content import content_of
from torchless.model.onnxfile import read_onnx
from torchless.model.signing import SUFFIX, make_key, read_signed

MB = 1_000_000
SMALL = Limits(max_bytes=MB)
BOMB = bytes(24 * MB)
PACKED = gzip.compress(BOMB, 1)


def content(item: Input) -> bytes | str:
    """What the classifier would read, or the error in its row."""
    try:
        if item.image is None:
            return str(item.error)
        image = item.image() if callable(item.image) else item.image
        return image if isinstance(image, bytes) else content_of(image, MB)
    except ImageError as error:
        return str(error)


def rows(argument: object, limits: Limits = SMALL) -> list[bytes | str]:
    return [content(item) for item in expand([str(argument)], limits=limits)]


@contextmanager
def little_memory(most: int = 12 * MB) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def tar(path: Path, mode: str, members: dict[str, bytes]) -> Path:
    fast = {"gz": {"compresslevel": 1}, "xz": {"preset": 0}}.get(mode[2:], {})
    with tarfile.open(path, mode, **fast) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_only_regular_files_of_a_folder_are_read(tmp_path: Path) -> None:
    """To open the pipe would take for ever, and to read the device or the sparse file too."""
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    with (tmp_path / "c.png").open("wb") as sparse:
        sparse.truncate(200 * 1000**3)
    (tmp_path / "d.png").write_bytes(b"image d")
    pipe, device, large, image = rows(tmp_path)
    assert pipe == f"cannot read {tmp_path}/a.png: it is a pipe, not a file"
    assert device == f"cannot read {tmp_path}/b.png: it is a device, not a file"
    assert "c.png: the image file has more than 1 MB; raise it with --max-image-mb" in large
    assert image == b"image d"


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "file://{folder}/a.png"])
def test_a_pipe_is_no_archive_and_no_url(tmp_path: Path, name: str) -> None:
    argument = name.format(folder=tmp_path) if "://" in name else str(tmp_path / name)
    os.mkfifo(argument.removeprefix("file://"))
    (row,) = rows(argument)
    assert "it is a pipe, not a file" in row


def test_a_pipe_is_no_model_and_no_signature(tmp_path: Path, tiny: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(ArtifactNotFoundError, match=r"cannot read .*model.onnx': it is a pipe, not a file$"):
        read_onnx(tmp_path / "model.onnx")
    make_key(tmp_path / "key")
    (tmp_path / "tiny.onnx").write_bytes(tiny.read_bytes())
    os.mkfifo(tmp_path / f"tiny.onnx{SUFFIX}")
    with pytest.raises(SignatureError, match="it is a pipe, not a file"):
        read_signed(tmp_path / "tiny.onnx", tmp_path / "key.pub")


def test_standard_input_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/zero").open("rb") as zeros:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=zeros, isatty=lambda: False))
        (row,) = rows("-")
    assert "the image file has more than 1 MB" in row


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_of_a_zip_file_that_is_too_large(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.png", BOMB)
        archive.writestr("b.png", b"image b")
    with little_memory():
        large, image = rows(tmp_path / "a.zip")
    assert "the image file has more than 1 MB" in large
    assert image == b"image b"


def test_a_member_that_is_larger_than_the_archive_says(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", BOMB)
    packed = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(packed.replace(len(BOMB).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with little_memory():
        (row,) = rows(tmp_path / "a.zip")
    assert "the archive is damaged (Bad CRC-32" in row


def test_a_compression_that_cannot_be_bounded(tmp_path: Path) -> None:
    """zipfile unpacks all of such a member at once, whatever size it is said to have."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", bytes(MB // 2))
    with little_memory():
        (row,) = rows(tmp_path / "a.zip")
    assert "compressed otherwise than by deflate" in row


def test_a_zip_file_with_a_directory_of_any_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"image a")
    data = bytearray((tmp_path / "a.zip").read_bytes())
    end = data.rindex(b"PK\5\6")
    size = 2_000_000_000
    data[end + 12 : end + 20] = size.to_bytes(4, "little") + (0).to_bytes(4, "little")
    with (tmp_path / "a.zip").open("wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(data[end:])
    with little_memory():
        (row,) = rows(tmp_path / "a.zip")
    assert "the archive is damaged (its directory is too large)" in row


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_that_unpacks_to_many_times_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of other files than images too: it takes time to unpack them."""
    monkeypatch.setattr(limits_module, "_ALWAYS_ALLOWED", 4 * MB)
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.txt", BOMB)
            archive.writestr("b.png", b"image b")
    else:
        tar(path, f"w:{kind[4:]}", {"a.txt": BOMB, "b.png": b"image b"})
    with little_memory():
        (row,) = rows(path)
    assert row == (
        f"cannot read {path}: the archive unpacks to more than 200 times its size; raise the limit with "
        "--max-expansion (max_expansion in Python) if you trust it"
    )
    assert rows(path, Limits(max_bytes=MB, max_expansion=1e9))[-1] == b"image b"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", ""])
def test_a_member_of_a_tar_archive_that_is_too_large(tmp_path: Path, kind: str) -> None:
    path = tar(tmp_path / f"a.tar{kind and '.'}{kind}", f"w:{kind}", {"a.png": BOMB, "b.png": b"image b"})
    with little_memory():
        large, image = rows(path)
    assert "the image file has more than 1 MB" in large
    assert image == b"image b"


def test_a_sparse_member_counts_with_its_holes(tmp_path: Path) -> None:
    """10 kB, of which tarfile makes 6 GB."""
    info = tarfile.TarInfo("a.png")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"00000000000\0"  # one piece of nothing
    header[483:495] = b"%011o\0" % (6 * 1000**3)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(10_240 - len(header)))
    with little_memory():
        (row,) = rows(tmp_path / "a.tar")
    assert "the image file has more than 1 MB" in row


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: int) -> None:
    """A name of 24 MB, in 24 kB."""
    info = tarfile.TarInfo("b" * len(BOMB) + ".png")
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf(format))
    with little_memory():
        (row,) = rows(tmp_path / "a.tar.gz")
    assert row == f"cannot read {tmp_path}/a.tar.gz: the headers of one member have more than 4 MiB"


def test_only_what_is_needed_is_unpacked(tmp_path: Path) -> None:
    """Each 10 kB that tarfile itself would unpack at once can be 10 GB."""
    (tmp_path / "a.tar.bz2").write_bytes(bz2.compress(BOMB))
    with little_memory(), unpacking.Unpacked((tmp_path / "a.tar.bz2").open("rb"), SMALL) as stream:
        assert len(stream.read(10_240)) == 10_240
        stream._packed._file.close()


Answer = Callable[[socket.socket, threading.Event], None]


@pytest.fixture
def server() -> Iterator[Callable[[Answer], str]]:
    """A function that starts a server which answers each connection so; gives its address."""
    ended, threads, listeners = threading.Event(), [], []

    def start(answer: Answer) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=one, args=[connection]))
                threads[-1].start()

        def one(connection: socket.socket) -> None:
            connection.settimeout(PATIENCE_S)
            with connection, suppress(OSError):  # the client has had enough
                answer(connection, ended)

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    ended.set()
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


def silent(connection: socket.socket, ended: threading.Event) -> None:
    ended.wait()


def dripping(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not ended.wait(0.02):
        connection.sendall(b"x")


def growing(connection: socket.socket, ended: threading.Event) -> None:
    connection.recv(1 << 16)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n")
    connection.sendall(PACKED)


@pytest.mark.parametrize("path", ["a.png", "a.zip", "a.tar"])
def test_a_server_that_says_nothing(server: Callable, path: str) -> None:
    url = f"{server(silent)}/{path}"
    (row,) = rows(url, Limits(timeout_s=0.1))
    assert row == f"cannot read {url}: nothing came for 0.1 s, or not all in 2 s; see --timeout"


def test_a_server_that_never_ends(server: Callable) -> None:
    (row,) = rows(f"{server(dripping)}/a.png", Limits(timeout_s=0.05))
    assert "or not all in 1 s" in row


def test_a_body_that_unpacks_to_many_times_its_size(server: Callable) -> None:
    with little_memory():
        (row,) = rows(f"{server(growing)}/a.png")
    assert "the image file has more than 1 MB" in row


def test_the_limits_are_options(command_line: Callable, tiny: Path, server: Callable, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(2000))
    code, out, _ = command_line("infer", tiny, tmp_path / "a.png", "--max-image-mb", 0.001, "-f", "jsonl")
    assert (code, "the image file has more than 0.001 MB" in out) == (1, True)
    code, out, _ = command_line("infer", tiny, f"{server(silent)}/a.png", "--timeout", 0.1, "-f", "jsonl")
    assert (code, "nothing came for 0.1 s" in out) == (1, True)
    code, out, _ = command_line("infer", tiny, tmp_path / "a.png", "--max-expansion", 0.5)
    assert code == 2
