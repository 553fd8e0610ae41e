"""URLs and archives, from a real HTTP server, real ZIP and tar files, and moto's S3 server."""

import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from torchless import Classifier
from torchless.batch.inputs import check, count, expand
from torchless.batch.passed_over import PassedOver
from torchless.engine.results import Input
from torchless.errors import ImageReadError, MissingDependencyError

INFER = Path(sys.executable).with_name("infer")
FILES = {
    "a.jpg": b"image a",
    "b.PNG": b"image b",
    "notes.txt": b"text",
    "deep/c.webp": b"image c",
    ".hidden.jpg": b"hidden",
}


def read(*arguments: object, recursive: bool = False) -> dict[str | None, bytes | str | None]:
    """What each row's image holds, or its error."""
    return {item.name: contents(item) for item in expand(map(str, arguments), recursive=recursive)}


def contents(item: Input) -> bytes | str | None:
    try:
        return item.image() if callable(item.image) else item.image or item.error
    except ImageReadError as error:
        return str(error)


@pytest.fixture
def photos_zip(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return tmp_path / "photos.zip"


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "shard.tar.gz", "w:gz") as archive:
        for name, data in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    return tmp_path / "shard.tar.gz"


def test_a_zip_file(photos_zip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)  # which an archive of this machine does not need
    check([str(photos_zip), f"zip://a.jpg::{photos_zip}"])
    names = {name: f"zip://{name}::{photos_zip}" for name in FILES}
    everything = {names["a.jpg"]: b"image a", names["b.PNG"]: b"image b", names["deep/c.webp"]: b"image c"}
    assert read(photos_zip) == everything
    assert read(f"zip://*::{photos_zip}") == {
        names["a.jpg"]: b"image a",
        names["b.PNG"]: b"image b",
        names[".hidden.jpg"]: b"hidden",
    }
    assert read(f"zip://deep::{photos_zip}") == {names["deep/c.webp"]: b"image c"}
    assert read(*everything) == everything  # each name leads to its image again
    assert read(f"{photos_zip.parent}/*.zip") == everything
    assert read(f"zip://no.jpg::{photos_zip}") == {
        f"zip://no.jpg::{photos_zip}": f"cannot read zip://no.jpg::{photos_zip}: No such file or directory"
    }


def test_a_pattern_in_a_zip_file(tmp_path: Path) -> None:
    names = ["a.jpg", "x/a.jpg", "x/y/a.jpg", "x/b.png", "xa.jpg", "notes.txt"]
    with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.writestr(name, name)

    def found(pattern: str) -> list[str]:
        return [data.decode() for data in read(f"zip://{pattern}::{path}").values()]

    assert found("*") == ["a.jpg", "xa.jpg"]
    assert found("x/*") == ["x/a.jpg", "x/b.png"]
    assert found("**/a.jpg") == ["a.jpg", "x/a.jpg", "x/y/a.jpg"]
    assert found("x/**/[ab].*") == ["x/a.jpg", "x/b.png", "x/y/a.jpg"]
    assert found("x") == ["x/a.jpg", "x/b.png", "x/y/a.jpg"]
    assert found("notes.txt") == ["notes.txt"], "a member that is named is an image, whatever its ending"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("prefix", ["", "file://"])
def test_members_of_one_name_are_an_image_each(tmp_path: Path, prefix: str) -> None:
    with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
        for data in (b"first", b"second"):
            archive.writestr("a.jpg", data)
    assert [contents(item) for item in expand([f"{prefix}{path}"])] == [b"first", b"second"]


def test_a_zip_file_that_was_replaced_is_opened_again(tmp_path: Path) -> None:
    for data in (b"first", b"second, which is longer"):
        with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.jpg", data)
        assert read(f"zip://a.jpg::{path}") == {f"zip://a.jpg::{path}": data}


@pytest.mark.parametrize("archive", ["photos_zip", "shard"])
def test_what_else_an_archive_holds_is_counted(archive: str, request: pytest.FixtureRequest) -> None:
    path = str(request.getfixturevalue(archive))
    passed_over = PassedOver()
    assert len(list(expand([path], passed_over=passed_over))) == 3
    assert passed_over.lines() == ["1 file is no image: .txt 1", "1 hidden image was left out"]
    strict = [item.error for item in expand([path], passed_over=PassedOver(strict=True)) if item.error]
    assert sorted(strict) == [
        "a hidden file; name it itself to have it classified",
        "not an image: its name ends in .txt",
    ]


def test_a_link_in_a_tar_archive_is_a_row_with_an_error(tmp_path: Path) -> None:
    with tarfile.open(path := tmp_path / "a.tar", "w") as archive:
        for name, kind in (("a.jpg", tarfile.LNKTYPE), ("b.jpg", tarfile.SYMTYPE), ("c.jpg", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "other.jpg"
            archive.addfile(member)
    assert [item.error for item in expand([str(path)])] == ["a link or a device in the archive, not a file"] * 3


def test_a_tar_archive_in_its_own_order(shard: Path) -> None:
    name = f"tar://{{}}::{shard}".format
    everything = {name("a.jpg"): b"image a", name("b.PNG"): b"image b", name("deep/c.webp"): b"image c"}
    assert list(read(shard).items()) == list(everything.items())
    assert read(*everything) == everything
    assert read(f"file://{shard}") == {key.replace("::", "::file://"): value for key, value in everything.items()}
    assert count([str(shard)]) is None


def test_no_name_in_an_archive_leads_out_of_it(tmp_path: Path) -> None:
    """To a file beside the archive, or to one that a link names."""
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    names = ("../secret.jpg", str(tmp_path / "secret.jpg"))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"inside")
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 6
            archive.addfile(member, io.BytesIO(b"inside"))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, names[0]
        archive.addfile(link)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    held = {
        *read(tmp_path / "evil.zip", recursive=True).values(),
        *read(tmp_path / "evil.tar", recursive=True).values(),
    }
    assert b"inside" in held
    assert b"secret" not in held
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_tar_archive_is_not_remembered(shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tarfile keeps a record of each member, which for a million of them is a gigabyte."""
    real, opened = tarfile.open, []
    monkeypatch.setattr("tarfile.open", lambda **options: opened.append(real(**options)) or opened[-1])
    assert [len(opened[0].members) for _ in expand([str(shard)])] == [1, 1, 1]


def test_a_tar_archive_is_read_no_further_than_needed(shard: Path) -> None:
    stream = expand([str(shard)])
    assert next(stream).image == b"image a"
    stream.close()


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_archives_that_are_damaged_or_empty_or_not_there(shard: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"bad.{ending}"
    (missing,) = read(path).values()
    assert missing == f"cannot read {path}: No such file or directory"
    path.write_bytes(b"no archive at all" * 100)
    (damaged,) = read(path).values()
    assert damaged.startswith(f"cannot read {path}: ")
    if ending == "zip":
        zipfile.ZipFile(path, "w").close()
    else:
        tarfile.open(path, "w").close()
    (empty,) = read(path).values()
    assert empty == f"no image in {path}: it is empty"


def test_a_torn_tar_archive_gives_what_is_whole(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("a.jpg", "b.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 5000
            archive.addfile(member, io.BytesIO(b"x" * 5000))
    data = (tmp_path / "x.tar").read_bytes()
    (tmp_path / "x.tar").write_bytes(data[:9000])
    rows = list(read(tmp_path / "x.tar").items())
    assert rows[0] == (f"tar://a.jpg::{tmp_path / 'x.tar'}", b"x" * 5000)
    assert rows[1][0] == str(tmp_path / "x.tar")
    assert "the archive is damaged" in rows[1][1]


@pytest.fixture
def site(tmp_path: Path, photos: Path, photos_zip: Path, shard: Path) -> Iterator[str]:
    """The address of an HTTP server that serves photos, a ZIP file and a tar archive."""
    (tmp_path / "coffee.png").write_bytes((photos / "coffee.png").read_bytes())
    handler = partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_http(site: str, photos: Path) -> None:
    rows = read(f"{site}/coffee.png?size=*", f"{site}/none.jpg", "http://127.0.0.1:1/x.jpg")
    assert rows[f"{site}/coffee.png?size=*"] == (photos / "coffee.png").read_bytes()
    assert rows[f"{site}/none.jpg"] == f"cannot read {site}/none.jpg: No such file or directory"
    assert rows["http://127.0.0.1:1/x.jpg"].startswith("cannot read http://127.0.0.1:1/x.jpg: Connect call failed")
    assert b"image c" in read(f"{site}/shard.tar.gz").values()
    (refused,) = read(f"zip://a.jpg::{site}/photos.zip").values()
    assert "doesn't appear to support range requests" in refused  # which Python's server does not; moto's, below, does


def test_urls_on_the_command_line(tiny: Path, site: str, photos: Path) -> None:
    urls = [f"{site}/coffee.png", f"{site}/none.jpg", "nonsense://x.jpg", "http://", f"{site}/coffee.png"]
    done = subprocess.run([INFER, tiny, *urls, "-f", "jsonl", "-d", "cpu"], capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr.splitlines()[-1].split(" f")[0]) == (1, "2 done, 3")
    assert [row["image"] for row in rows] == urls
    assert [row["error"] is None for row in rows] == [True, False, False, False, True]
    assert rows[2]["error"] == "cannot read nonsense://x.jpg: Protocol not known: nonsense"
    assert rows[0]["predictions"] == [
        p.to_dict() for p in Classifier(tiny, device="cpu").classify(photos / "coffee.png").predictions
    ]


@pytest.fixture
def bucket(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket on a real server of moto's."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    for name in ("coffee.png", "rocket.jpg"):
        client.put_object(Bucket="photos", Key=f"in/{name}", Body=(photos / name).read_bytes())
    client.put_object(Bucket="photos", Key="in/deep/chelsea.png", Body=(photos / "chelsea.png").read_bytes())
    client.put_object(Bucket="photos", Key="in/readme.txt", Body=b"text")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(photos / "rocket.jpg", "r.jpg")
    client.put_object(Bucket="photos", Key="in/photos.zip", Body=packed.getvalue())
    client.close()
    yield "s3://photos/in"
    server.stop()


def test_s3(tiny: Path, bucket: str) -> None:
    def names(*arguments: str) -> list[str]:
        done = subprocess.run(
            [INFER, tiny, *arguments, "-f", "jsonl", "-d", "cpu"], capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        return [
            f"{row['image']}{': ' + row['error'] if row['error'] else ''}"
            for row in map(json.loads, done.stdout.splitlines())
        ]

    flat = [f"{bucket}/coffee.png", f"{bucket}/rocket.jpg"]
    passed_over = PassedOver()
    assert [item.name for item in expand([bucket], passed_over=passed_over)] == flat
    assert passed_over.lines() == [
        "2 files are no images: .zip 1, .txt 1",
        "1 subfolder was not looked into (`recursive` does)",
    ]
    assert names(bucket, "--recursive") == [flat[0], f"{bucket}/deep/chelsea.png", flat[1]]
    assert names(f"{bucket}/*.jpg", f"{bucket}/none.jpg") == [
        flat[1],
        f"{bucket}/none.jpg: cannot read {bucket}/none.jpg: No such file or directory",
    ]
    (error,) = names("s3://no-such-bucket/")
    assert error.startswith("s3://no-such-bucket/: cannot read s3://no-such-bucket/: ")


@pytest.mark.parametrize(
    ("argument", "hidden", "message"),
    [
        (
            "s3://bucket/a.jpg",
            "s3fs",
            r"s3://bucket/a.jpg needs a package that is not installed: pip install 'torchless\[s3\]'",
        ),
        ("gs://bucket/a.jpg", "gcsfs", r"pip install 'torchless\[remote\]' gcsfs"),
        ("zip://a.jpg::gs://bucket/a.zip", "gcsfs", r"pip install 'torchless\[remote\]' gcsfs"),
        ("https://x/a.jpg", "aiohttp", r"pip install 'torchless\[remote\]'"),
        ("zip://a.jpg::https://x/a.zip", "fsspec", r"zip needs the extra remote .*pip install 'torchless\[remote\]'"),
    ],
)
def test_a_package_that_is_missing_is_named(argument: str, hidden: str, message: str, tmp_path: Path) -> None:
    """In a process of its own: fsspec remembers what it has imported."""
    code = (
        f"import sys; sys.modules[{hidden!r}] = None; from torchless.batch.inputs import check; "
        f"check(['a.jpg', {argument!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    with pytest.raises(MissingDependencyError, match=message):
        raise MissingDependencyError(done.stderr.splitlines()[-1])


def test_local_files_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    (tmp_path / "s3:" / "a.jpg").touch()
    assert [(item.name, item.image) for item in expand(["s3://a.jpg"])] == [("s3://a.jpg", "s3://a.jpg")]
    check(["s3://a.jpg", "b.jpg"])
    assert count([os.curdir, "s3:"]) == 2
