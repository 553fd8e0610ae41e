"""What a start of `infer` reads, and how often."""

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from torchless import cpus
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
