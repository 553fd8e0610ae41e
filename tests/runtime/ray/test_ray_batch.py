"""`infer --engine ray` on a real cluster of several processes, some of which are killed.

A server holds up whoever reads one of the images for as long as a test wants, so that "in the middle" is no matter of
time.
"""

import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.runtime.ray.processes import ray_processes
from tests.server_process import wait_until
from tests.surroundings import PATIENCE_S

from torchless import Classifier
from torchless.batch.options import InferOptions
from torchless.engine.results import Input
from torchless.errors import ArtifactNotFoundError, TorchlessError
from torchless.model.signing import make_key, sign
from torchless.ray import batch as ray_batch
from torchless.ray.pool import Pool
from torchless.ray.shards import make_shards
from torchless.ray.worker import read_files

pytestmark = pytest.mark.slow

INFER = Path(sys.executable).with_name("infer")
CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def images(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 images, one of them bad, in a folder of its own."""
    folder = tmp_path_factory.mktemp("images") / "images"
    folder.mkdir()
    with Image.open(photos / "coffee.png") as image:
        for number in range(23):
            image.crop((10 * number, 0, 10 * number + 200, 200)).save(folder / f"{number:02}.png")
    (folder / "caf\udce9.jpg").write_bytes(b"no image")
    return folder


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]


def local_rows(model: Path, images: Path) -> list[dict]:
    return [
        result.to_dict()
        for result in Classifier(model, device="cpu", threads=1).classify_many(sorted(map(str, images.iterdir())))
    ]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_same_rows_as_the_local_engine(
    ray_cluster: str,
    pair: Path,
    images: Path,
    tmp_path: Path,
    command_line: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    format: str,
) -> None:
    """Relative names, bad images, names that are given twice, archives and URLs; a model of two files, signed for one
    of the formats.
    """
    monkeypatch.chdir(images.parent)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("00.png", "01.png"):
            archive.write(f"images/{name}", name)
            tar.add(f"images/{name}", name)
    arguments = [
        "images",
        tmp_path / "a.zip",
        tmp_path / "a.tar",
        f"file://{images}/02.png",
        "images/03.png",
        "images/03.png",
        "missing.jpg",
    ]
    code, _, _ = command_line("infer", pair, *arguments, "-o", tmp_path / f"local.{format}")
    assert code == 1
    out, signature = tmp_path / "out", []
    if format == "parquet":
        make_key(tmp_path / "key")
        sign(pair, tmp_path / "key")
        signature = ["--require-signature", tmp_path / "key.pub"]
    options = ["--engine", "ray", "-o", out, "-f", format, "--workers", 2, "--part-size", 5, *signature]
    code, printed, err = command_line("infer", pair, *arguments, *options)
    assert (code, printed, err.splitlines()[0]) == (1, "", "device: cpu, 2 workers, 1 thread")
    parts = sorted(out.glob("part-*"))
    assert len(parts) >= 6
    if format == "jsonl":
        assert b"".join(part.read_bytes() for part in parts) == (tmp_path / "local.jsonl").read_bytes()
    else:
        import pyarrow.parquet

        assert pyarrow.parquet.read_table(out).equals(pyarrow.parquet.read_table(tmp_path / "local.parquet"))
    assert (out / "_SUCCESS").exists()


class Held:
    """A folder of images and one at a URL, whose server waits; the other images are done when this is made."""

    def __init__(self, images: Path, folder: Path, out: Path) -> None:
        self.folder = shutil.copytree(images, folder)
        self.content = (folder / "22.png").read_bytes()
        (folder / "22.png").unlink()
        self.out, self.others = out, len(list(self.folder.iterdir()))
        held, self._released = self, threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                held._released.wait(PATIENCE_S)
                with contextlib.suppress(OSError):  # who asked may be gone
                    self.send_response(200)
                    self.send_header("content-length", str(len(held.content)))
                    self.end_headers()
                    self.wfile.write(held.content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/22.png"

    def wait(self) -> None:
        """Until all other images are done, but for those in the last one's shard."""
        wait_until(lambda: len(rows(self.out)) >= self.others - 2)

    def release(self) -> None:
        """Lets whoever asks have the image."""
        self._released.set()

    def local_rows(self, model: Path) -> list[dict]:
        """What the same images give without a cluster, after release()."""
        classifier = Classifier(model, device="cpu", threads=1)
        return [*local_rows(model, self.folder), classifier.classify(self.content).to_dict() | {"image": self.url}]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def held(images: Path, tmp_path: Path) -> Iterator[Held]:
    made = Held(images, tmp_path / "held", tmp_path / "out")
    yield made
    made.release()
    made.close()


def workers_at_work() -> list[int]:
    return ray_processes("Worker.classify")


def test_a_worker_that_is_killed_loses_no_image_and_doubles_none(ray_cluster: str, tiny: Path, held: Held) -> None:
    options = InferOptions(
        model=tiny, images=(str(held.folder), held.url), engine="ray", workers=2, output=held.out, part_size=3
    )
    codes: list[int] = []
    run = threading.Thread(target=lambda: codes.append(ray_batch.infer_on_ray(options).exit_code))
    run.start()
    held.wait()
    wait_until(lambda: len(workers_at_work()) == 1)
    [killed] = workers_at_work()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: killed not in workers_at_work())  # else it could still be the one that reads
    held.release()
    run.join(PATIENCE_S)
    assert codes == [1]
    assert rows(held.out) == held.local_rows(tiny)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on(
    ray_cluster: str, tiny: Path, held: Held, command_line: CommandLine, how: signal.Signals
) -> None:
    out = held.out
    command = [tiny, held.folder, held.url, "--engine", "ray", "--workers", 1, "--part-size", 3, "-o", out]
    process = subprocess.Popen([INFER, *map(str, command), "--address", ray_cluster], stderr=subprocess.PIPE, text=True)
    held.wait()
    process.send_signal(how)
    _, err = process.communicate(timeout=PATIENCE_S)
    before = {path: path.read_bytes() for path in out.glob("part-*")}
    done = rows(out)
    assert not (out / "_SUCCESS").exists()
    if how is signal.SIGINT:
        said = (
            f"interrupted: {len(done)} images are done, and kept in {out}: the same command with --resume "
            f"continues from there"
        )
        assert (process.returncode, err.splitlines()[-1]) == (130, said)
        assert "Traceback" not in err
        assert "--resume continues from there" in command_line("infer", *command)[2]

    held.release()
    expected = held.local_rows(tiny)
    for path in (Path(row["image"]) for row in done):  # doing them again fails
        found = path.stat()
        path.write_bytes(bytes(found.st_size))
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    code, _, err = command_line("infer", *command, "--resume")
    assert code == 1  # the one that is no image
    assert err.splitlines()[-1].startswith(f"23 done, 1 failed ({len(done)} of all by an earlier run) → {out}, ")
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(rows(out), key=lambda row: row["image"]) == sorted(expected, key=lambda row: row["image"])
    assert (out / "_SUCCESS").exists()

    (held.folder / "00.png").write_bytes((held.folder / "01.png").read_bytes() + b"replaced")
    (held.folder / "02.png").unlink()
    _, _, err = command_line("infer", *command, "--resume")
    assert "2 rows of an earlier run left out: their images were replaced, or are not asked for now" in err
    assert sorted(Path(row["image"]).name for row in rows(out)) == sorted(
        [*(path.name for path in held.folder.iterdir()), "22.png"]
    )


def test_an_image_that_ends_its_worker_costs_its_own_row(ray_cluster: str, tiny: Path, images: Path) -> None:
    import ray

    options = InferOptions(model=tiny, images=(), engine="ray", output=Path("out"))
    work = ray_batch._work(options, ray_batch.Format.JSONL)
    inputs = [Input("a", str(images / "00.png")), Input("deadly", os.abort)]
    with Pool(ray, work, ray.put(read_files([tiny])), workers=1) as pool:
        parts = list(pool.run(make_shards(inputs, size=1, workers=1)))
    answers = [json.loads(part.data) for part in parts]
    assert [(row["image"], row["error"] is None) for row in answers] == [("a", True), ("deadly", False)]
    assert "the worker process ended while it worked on this image, 3 times" in answers[1]["error"]


def test_workers_that_end_again_and_again_end_the_run(ray_cluster: str, tiny: Path) -> None:
    import ray

    work = ray_batch._work(InferOptions(model=tiny, images=(), output=Path("out")), ray_batch.Format.JSONL)
    with Pool(ray, work, ray.put(read_files([tiny])), workers=1) as pool:
        pool._most_deaths = 1
        with pytest.raises(TorchlessError, match="worker processes end again and again; the last one: "):
            list(pool.run(make_shards([Input("deadly", os.abort)], size=1, workers=1)))


def test_what_is_wrong_is_told_before_the_work(
    ray_cluster: str, tiny: Path, tmp_path: Path, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def error(*arguments: object) -> tuple[int, str]:
        code, printed, err = command_line("infer", *arguments)
        assert printed == ""
        assert not out.exists()
        return code, err.splitlines()[-1]

    assert error(tiny, "x.jpg", "--engine", "ray") == (
        2,
        (
            "error: --engine ray writes a folder of files: name it with --output, and leave --format out or make it "
            "jsonl or parquet"
        ),
    )
    assert error(tiny, "x.jpg", "--engine", "ray", "-o", out, "-f", "csv")[0] == 2
    assert error(tiny, "x.jpg", "--address", "auto") == (2, "error: --address names a Ray cluster: add --engine ray")
    assert error(tmp_path / "no.onnx", "x.jpg", "--engine", "ray", "-o", out)[0] == 3
    code, said = error(
        tiny, "x.jpg", "--engine", "ray", "-o", out, "--device", "cuda"
    )  # the cluster says it has one; the worker has not
    assert (code, said.startswith("error: cannot use cuda: ")) == (4, True)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert error(tiny, "x.jpg", "--engine", "ray", "-o", out)[1].endswith("install it: pip install 'torchless[ray]'")


def test_a_classifier_of_the_users_travels_to_a_task(
    ray_cluster: str, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    import ray

    model, image = Path(shutil.copy(tiny, tmp_path / "model.onnx")), photos / "coffee.png"
    classifier = Classifier(model, device="cpu")
    classify = ray.remote(lambda one: one.classify(image))
    put = ray.put(classifier)
    assert ray.get([classify.remote(classifier), classify.remote(put)]) == [classifier.classify(image)] * 2
    late = ray.put(Classifier(model, device="cpu", threads=1))
    model.unlink()
    with pytest.raises(ArtifactNotFoundError, match="travels without its file"):
        ray.get(classify.remote(late))
