"""What the machine does to a command: full disks, no permission, killed processes, files that change, odd names and
environments.
"""

import ctypes
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import REPO
from tests.surroundings import PATIENCE_S

from torchless.batch.outputs import Format, open_writer
from torchless.engine.classifier import Classifier
from torchless.engine.results import Prediction, Result
from torchless.errors import ArtifactNotFoundError, ImageReadError, ImageTooLargeError, UsageError
from torchless.image.decode import load_rgb
from torchless.model.artifact import read_artifact
from torchless.model.labels import read_labels
from torchless.serve.registry import Registry
from torchless.serve.settings import Settings
from torchless_export.convert.write import data_path, staged

CommandLine = Callable[..., tuple[int, str, str]]
ROW = Result("a.jpg", (Prediction(1, "goldfish" * 100, 0.5),))
_OPENS_EVERYTHING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond it: what a full disk is to a writer, with another errno."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes where this process may mount one, which root may; elsewhere a limit on each file's
    size.
    """
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        with file_size_limit(size):
            yield folder
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may open everything, by two capabilities of this thread and those that it starts (capabilities(7)); others
    never have them.
    """
    held = _change_capabilities(lambda effective: effective & ~_OPENS_EVERYTHING)
    try:
        yield
    finally:
        _change_capabilities(lambda _: held)


def _change_capabilities(change: Callable[[int], int]) -> int:
    """Gives the effective ones (of the first 32) as they were."""
    libc = ctypes.CDLL(None)
    header, data = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0)), ctypes.create_string_buffer(24)
    assert libc.capget(header, data) == 0
    effective, *rest = struct.unpack("6I", data.raw)
    assert libc.capset(header, ctypes.create_string_buffer(struct.pack("6I", change(effective), *rest))) == 0
    return effective


FULL = "(No space left on device|File too large)"


@pytest.mark.parametrize("format", list(Format))
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, format: Format) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        output = disk / f"rows.{format}"
        output.write_text("old")
        with (
            pytest.raises(UsageError, match=rf"cannot write .*rows.*: .*{FULL}"),
            open_writer(format, output) as writer,
        ):
            for number in range(20_000):
                writer.write(replace(ROW, image=f"{number}.jpg"))
        assert [path.name for path in disk.iterdir()] == [output.name]
        assert output.read_text() == "old"


def test_an_export_onto_a_full_disk(tmp_path: Path, tiny: Path) -> None:
    import onnx

    from torchless_export.convert.write import write_sealed

    manifest = read_artifact(tiny).manifest
    with small_disk(tmp_path / "disk", 8 * 1024) as disk:
        output = disk / "tiny.onnx"
        output.write_text("old")
        with pytest.raises(UsageError, match=f"cannot write .*tiny.onnx: {FULL}"), staged(output) as path:
            write_sealed(onnx.load(tiny), manifest, (), path)
        assert [path.name for path in disk.iterdir()] == ["tiny.onnx"]
        assert output.read_text() == "old"


@pytest.mark.parametrize("command", ["infer", "torchless evaluate"])
def test_a_disk_that_fills_up_keeps_the_rows_for_resume(
    command: str, tiny: Path, photos: Path, tmp_path: Path, command_line: CommandLine
) -> None:
    images, whole = tmp_path / "images" / "one", tmp_path / "whole.jsonl"
    images.mkdir(parents=True)
    for number in range(60):
        shutil.copy(photos / "chelsea.png", images / f"{number:02}.png")
    given = (*command.split(), tiny, images.parent, "-d", "cpu", *(["--recursive"] if command == "infer" else []), "-o")
    assert command_line(*given, whole)[0] == 0
    with small_disk(tmp_path / "disk", 12 * 1024) as disk:
        output = disk / "rows.jsonl"
        output.write_text("old")
        code, _, err = command_line(*given, output)
        assert (code, output.read_text()) == (2, "old")
        assert re.search(f"cannot write .*rows.jsonl: {FULL}", err)
        kept = disk / "rows.jsonl.partial"
        assert 1 < kept.read_text().count("\n") < 60
        for path in disk.iterdir():
            shutil.copy(path, tmp_path)  # to where there is room
    code, _, err = command_line(*given, tmp_path / "rows.jsonl", "--resume")
    assert (code, (tmp_path / "rows.jsonl").read_text()) == (0, whole.read_text())


def test_files_that_may_not_be_read_are_named(tiny: Path, tmp_path: Path) -> None:
    closed = {}
    for name, source in (("model.onnx", tiny), ("labels.txt", None), ("image.jpg", None)):
        closed[name] = tmp_path / name
        closed[name].write_bytes(source.read_bytes() if source else b"x")
        closed[name].chmod(0)
    with without_privileges():
        with pytest.raises(ArtifactNotFoundError, match="Permission denied"):
            Classifier(closed["model.onnx"], device="cpu")
        with pytest.raises(UsageError, match="labels.txt: Permission denied"):
            read_labels(closed["labels.txt"])
        with pytest.raises(ImageReadError, match="cannot read .*image.jpg: Permission denied"):
            load_rgb(closed["image.jpg"])


def test_folders_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with without_privileges():
        with (
            pytest.raises(UsageError, match="cannot write .*: Permission denied"),
            open_writer(Format.CSV, tmp_path / "x.csv"),
        ):
            pass
        with pytest.raises(UsageError, match="cannot write .*: Permission denied"), staged(tmp_path / "x.onnx"):
            pass
    tmp_path.chmod(0o755)


@pytest.mark.parametrize(
    "arguments",
    [
        ("infer", "{model}", "{images}", "{images}", "-o", "{closed}/rows.jsonl", "-d", "cpu"),
        ("infer", "{closed}/model.onnx", "{images}"),
        ("torchless", "inspect", "{closed}/model.onnx"),
        ("torchless", "serve", "{closed}"),
        ("torchless", "serve", "{closed}/model.onnx"),
        ("torchless", "evaluate", "{model}", "{closed}/list.csv"),
        ("torchless", "export", "tiny", "--builder", "tests.models:tiny", "--checkpoint", "{closed}/mine.pth"),
        ("torchless", "export", "tiny", "--builder", "tests.models:tiny", "-o", "{closed}/tiny.onnx"),
        ("torchless", "compare", "{model}", "-o", "{closed}/comparison"),
    ],
)
def test_commands_that_meet_a_closed_folder_end_in_a_line(
    arguments: tuple[str, ...],
    tiny: Path,
    photos: Path,
    tmp_path: Path,
    command_line: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(REPO)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    shutil.copy(tiny, tmp_path / "model.onnx")
    places = {"model": tmp_path / "model.onnx", "images": photos / "coffee.png", "closed": closed}
    with without_privileges():
        code, out, err = command_line(*(argument.format(**places) for argument in arguments))
    closed.chmod(0o755)
    assert (code in (2, 3, 6), out) == (True, "")
    assert str(closed) in err
    assert "Traceback" not in err


def stage_in_a_process(output: Path, *, content: str, then: str) -> "subprocess.Popen[str]":
    """Another export: it writes a pair, says so, and goes on when it is told to."""
    code = f"""
import sys; from pathlib import Path; from torchless_export.convert.write import data_path, staged
with staged(Path({str(output)!r})) as path:
    path.write_text({content!r}); data_path(path).write_text({content!r})
    print("ready", flush=True); sys.stdin.readline()
    {then}
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_of_two_exports_at_once_one_wins_whole(tmp_path: Path) -> None:
    output = tmp_path / "pair.onnx"
    one, other = (stage_in_a_process(output, content=content, then="pass") for content in ("one", "other"))
    for process in (one, other):
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(PATIENCE_S) for process in (one, other)] == [0, 0]
    for process in (one, other):
        process.communicate()
    assert output.read_text() == data_path(output).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pair.onnx", "pair.onnx.data"]


def test_what_a_killed_export_left_is_removed_by_the_next_and_not_served(tmp_path: Path) -> None:
    output = tmp_path / "pair.onnx"
    killed, alive = (stage_in_a_process(output, content=content, then="pass") for content in ("killed", "alive"))
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UsageError, match=r"there is no .onnx file in"):
        Registry(Settings(models=(tmp_path,)))
    with staged(output) as path:
        path.write_text("next")
    assert len([path for path in tmp_path.iterdir() if path != output]) == 1  # the folder of the one that lives
    alive.communicate("\n")
    assert [output.read_text(), data_path(output).read_text()] == ["alive", "alive"]


def test_an_image_that_there_is_no_memory_for(tmp_path: Path) -> None:
    """A row with an error, not the end of all rows."""
    path = tmp_path / "large.png"
    Image.new("L", (9_000, 9_000)).save(path)
    code = f"""
import resource; from pathlib import Path; from torchless.image.decode import load_rgb
from torchless.errors import ImageTooLargeError
status = Path("/proc/self/status").read_text().splitlines()
size = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size + 200_000_000,) * 2)
try: load_rgb({str(path)!r})
except ImageTooLargeError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "there is not enough memory for an image of 9000×9000 pixels\n", done.stderr
    assert issubclass(ImageTooLargeError, ValueError)


def test_files_that_go_away_or_shrink_before_their_turn(tiny: Path, photos: Path, tmp_path: Path) -> None:
    names = [tmp_path / name for name in ("a b.png", "c.png", "d.png")]
    for path in names:
        shutil.copy(photos / "coffee.png", path)
    rows = Classifier(tiny, device="cpu", threads=1).classify_many(names, workers=1)
    assert next(rows).ok
    names[1].unlink()
    names[2].write_bytes(names[2].read_bytes()[:1000])
    gone, torn = rows
    assert gone.error == f"cannot read {names[1]}: No such file or directory"
    assert torn.error.startswith("cannot decode: ")


def test_no_environment_an_odd_clock_and_a_full_temporary_folder(tiny: Path, photos: Path, tmp_path: Path) -> None:
    """Without HOME, PATH and locale, long before 1980, and with no temporary folder available."""
    code = "import sys, time; time.time = lambda: -1e9; from torchless.cli.start import infer_main; infer_main()"
    image = tmp_path / "photo of 2026 é.png"
    shutil.copy(photos / "coffee.png", image)
    os.utime(image, (0, -1e9))
    done = subprocess.run(
        [sys.executable, "-c", code, tiny, image, "-f", "json", "-d", "cpu"],
        env={"TMPDIR": "/dev/null/none"},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_very_long_lists_of_files(tiny: Path, photos: Path, tmp_path: Path, command_line: CommandLine) -> None:
    nowhere = [tmp_path / f"{number}.jpg" for number in range(3_000)]
    code, out, err = command_line("infer", tiny, *nowhere, photos / "coffee.png", "-f", "jsonl", "-d", "cpu")
    assert (code, len(err.splitlines()), out.count("\n")) == (1, 7, 3_001)
    assert "1 done, 3,000 failed" in err
    assert Result.from_json(out.splitlines()[-1]).ok
