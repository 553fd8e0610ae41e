"""What a start of `infer` reads, and how often; what it imports."""

import functools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from torchless import cpus
from torchless.batch.options import InferOptions
from torchless.batch.outcome import Outcome
from torchless.cli import start
from torchless.model import artifact, manifest, onnxfile


@pytest.mark.parametrize(
    ("program", "options", "images"),
    [("infer", (), 1), ("infer", (), 2), ("torchless", ("--device", "cpu", "--threads", "1"), 2)],
)
def test_a_start_reads_everything_once(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., tuple[int, str, str]],
    program: str, options: tuple[str, ...], images: int,
) -> None:  # fmt: skip
    calls: Counter[str] = Counter()

    def count(module: object, name: str) -> None:
        function = getattr(module, name)

        @functools.wraps(function)
        def counted(*arguments: object) -> object:
            calls[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, counted)

    cpus.cgroup_quota.cache_clear()
    count(cpus, "_group_folders")  # the control groups
    count(onnxfile, "_model")  # the file's protobuf, from its first field to its last
    count(manifest, "decode")
    count(artifact, "check_seal")  # all bytes of the file
    verb = ["infer"] if program == "torchless" else []
    code, out, _ = command_line(program, *verb, tiny, *[photos / "coffee.png"] * images, *options)
    assert (code, out.count("coffee.png")) == (0, images)
    assert calls == {"_group_folders": 1, "_model": 1, "decode": 1, "check_seal": 1}


# Runs `infer MODEL IMAGE` beside a list of the files that Python opens, and of what is imported that the shortest
# program with numpy, Pillow and ONNX Runtime does not import too. Methods that the standard library's dataclass and
# namedtuple make are compiled from text, whose file is "<string>".
_WATCHED = """
import json, sys
import numpy, onnxruntime, PIL.Image, PIL.JpegImagePlugin, PIL.PngImagePlugin
PIL.Image.preinit()
before, opened = set(sys.modules), []
def hook(event, about):
    if event == "open" and about[1] is not None:
        opened.append(str(about[0]))
sys.addaudithook(hook)
from torchless.cli.start import infer_main
try:
    infer_main()
except SystemExit as end:
    assert not end.code, end.code
new = sorted(set(sys.modules) - before)
compiled = [
    f"{name}.{kind.__name__}"
    for name in new if name.startswith("torchless")
    for kind in vars(sys.modules[name]).values()
    if isinstance(kind, type) and kind.__module__ == name and not issubclass(kind, tuple)
    and getattr(getattr(kind.__init__, "__code__", None), "co_filename", "") == "<string>"
]
print(json.dumps({"opened": opened, "new": new, "compiled": compiled}))
"""
# What a start may import besides; anything else is imported where it is needed.
_STANDARD = {
    "__future__",
    "_blake2",
    "_decimal",
    "_hashlib",
    "_socket",
    "atexit",
    "copy",
    "dataclasses",
    "decimal",
    "errno",
    "fnmatch",
    "fractions",
    "hashlib",
    "ipaddress",
    "mmap",
    "numbers",
    "ntpath",
    "pathlib",
    "selectors",
    "socket",
    "stat",
    "urllib",
    "zlib",
}
_TORCHLESS = {
    "batch": "conductor identity inputs limits options outcome outputs passed_over run stamps stuck warned",
    "cli": "program start",
    "engine": "classifier devices groups head interface loading options plan results session travel",
    "image": "arrays colours content decode exact_crop formats limits opening options preprocess truncated value_range",
    "model": "artifact external manifest onnxfile preprocessing protobuf schema_1 labels seal",
    "": "batch cli codec cpus engine errors files forking heaps image model process progress records text",
}


@pytest.fixture(scope="module")
def watched(tiny: Path, photos: Path) -> dict[str, list[str]]:
    command = [sys.executable, "-c", _WATCHED, tiny, photos / "coffee.png"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE"))}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seen: dict[str, list[str]] = json.loads(found.stdout.splitlines()[-1])
    return seen


def test_a_start_opens_each_file_once(watched: dict[str, list[str]], tiny: Path, photos: Path) -> None:
    opened = Counter(watched["opened"])
    assert opened[str(tiny)] == 2  # its graph, and its seal; ONNX Runtime does not ask Python
    assert opened[str(photos / "coffee.png")] == 1
    of_machine = {name: times for name, times in opened.items() if name.startswith(("/proc/", "/sys/"))}
    assert set(of_machine.values()) <= {1}, of_machine


def test_a_start_imports_nothing_new(watched: dict[str, list[str]]) -> None:
    ours = {
        f"torchless.{room}.{name}".replace("..", ".") for room, names in _TORCHLESS.items() for name in names.split()
    }
    limits = {f"torchless.image.limits.{name}" for name in ("check", "directory", "pixels", "png")}
    of_torchless = {name for name in watched["new"] if name.startswith("torchless.")}
    assert of_torchless == ours | limits
    others = {name.partition(".")[0] for name in watched["new"]} - {
        "torchless",
        "numpy",
        "PIL",
        *sys.builtin_module_names,
    }
    assert {name for name in others if not name.startswith("_")} <= _STANDARD


def test_a_start_compiles_no_source(watched: dict[str, list[str]]) -> None:
    assert watched["compiled"] == []


@pytest.mark.parametrize(
    "words",
    ["--output FILE", "-o FILE --resume", "--decode fast -r", "--recursive --decode exact --output FILE --resume", ""],
)
def test_common_options_need_no_parser(
    tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str,
    command_line: Callable[..., tuple[int, str, str]],
) -> None:  # fmt: skip
    """What they mean is what the parser makes of them."""
    found: list[InferOptions] = []

    def infer(options: InferOptions, **_: object) -> Outcome:
        found.append(options)
        return Outcome(rows=1, failed=0)

    monkeypatch.setattr("torchless.batch.run.infer", infer)
    arguments = [str(tiny), *words.replace("FILE", str(tmp_path / "rows.csv")).split(), str(photos)]
    assert command_line("torchless", "infer", *arguments)[0] == 0
    monkeypatch.setitem(sys.modules, "typer", None)
    monkeypatch.delitem(sys.modules, "torchless.cli.infer")
    assert command_line("infer", *arguments)[0] == 0
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "words",
    [
        "-o", "-o= photos", "--output --resume", "--output=a -o b", "-o a -o b", "--decode slow", "--decode",
        "--top-k 1", "--no-exif", "-ra", "--", "-", "--help",
    ],
)  # fmt: skip
def test_all_others_are_left_to_the_parser(words: str) -> None:
    assert start._plain(["model.onnx", "photos", *words.split()]) is None
