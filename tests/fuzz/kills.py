"""make faults: kill -9 at random moments of commands that write, and a look at what they leave.

    python -m tests.fuzz.kills figures/reliability.json [--model FILE.onnx] [COMMAND[=KILLS] …]

The same command is started again after each kill, with --resume where there is that, until RUN_LENGTH kills have met it
or it was done before its kill; then it may finish, and its file is compared with that of a run that nothing disturbed.
Every second run begins with that file in place. A kill counts only when the process was alive. Each command's figures
are in the JSON as soon as they are there. The exit code is 1 where a file was half written, work was lost, or a run
could not be finished. `serve` is killed by tests/fuzz/workers.py.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pyarrow.parquet
import skimage
from PIL import Image
from tests.fuzz import workers
from tests.fuzz.__main__ import keep, small_model
from tests.fuzz.campaign import REPO

from torchless.doctor.machine import here

BIN = Path(sys.executable).parent
KILLS = {"parquet": 20, "jsonl": 20, "evaluate": 20, "compare": 10, "export": 15, "quantize": 15}
_RUN_LENGTH, _LIMIT_S = 5, 300
_IMAGES = 140  # quantize wants 50 for its judgement, and as many again to calibrate on
_PHOTOS = "astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "camera.png"
_JOURNAL = ".partial"


@dataclass(frozen=True)
class Command:
    """What is run, and the file in the folder `out` that it is for. `whole` says of a file there whether a finished run
    leaves it so; `kept` counts what a killed run has done that the next need not do again.
    """

    arguments: list[str]
    output: Path
    whole: Callable[[Path], bool]
    kept: Callable[[Path], int] = lambda _: 0
    resumes: bool = False


@dataclass
class Outcomes:
    """How often a killed run left no output, the whole one, or a file that is half; or less of its work than an earlier
    one had done. Of the `runs` that were killed up to five times, `finished` ended well afterwards; beside `hidden` of
    them a temporary file stayed.
    """

    kills: int = 0
    absent: int = 0
    whole: int = 0
    half: int = 0
    lost: int = 0
    runs: int = 0
    finished: int = 0
    hidden: int = 0

    @property
    def bad(self) -> bool:
        return self.half > 0 or self.lost > 0 or self.finished != self.runs


def commands(folder: Path, model: Path) -> dict[str, Command]:
    """The commands by name; those of infer and evaluate with reference files made by runs that nothing disturbs."""
    out = folder / "out"
    torchless, infer = str(BIN / "torchless"), str(BIN / "infer")
    here = ["-d", "cpu", "--workers", "1", "-o"]
    compare = [torchless, "compare", str(model), "-d", "cpu", "--rounds", "3", "--seconds", "0.2", "-o", str(out)]
    export = [torchless, "export", "tiny", "--builder", "tests.models:tiny", "-o", str(out / "tiny.onnx")]
    quantize = [
        torchless,
        "quantize",
        str(model),
        "--calibration",
        "images",
        "--force",
        "-o",
        str(out / "tiny.int8.onnx"),
    ]
    return {
        "parquet": _rows(folder, [infer, str(model), "images", *here], "rows.parquet", _same_table),
        "jsonl": _rows(folder, [infer, str(model), "images", *here], "rows.jsonl", _same_bytes),
        "evaluate": _rows(folder, [torchless, "evaluate", str(model), "labelled", *here], "answers.csv", _same_bytes),
        "compare": Command(compare, out / "comparison.json", _is_of_a_comparison, _rounds),
        "export": Command(export, out / "tiny.onnx", _is_artifact),
        "quantize": Command(quantize, out / "tiny.int8.onnx", _is_artifact),
    }


def _rows(folder: Path, arguments: list[str], name: str, same: Callable[[Path, Path], bool]) -> Command:
    output, reference = folder / "out" / name, folder / name

    def is_whole(path: Path) -> bool:
        if not reference.exists():
            _popen([*arguments, str(reference)], folder).wait(_LIMIT_S)
        return same(path, reference)

    return Command([*arguments, str(output), "--resume"], output, is_whole, _journal_rows, resumes=True)


def prepare(folder: Path) -> None:
    """Parts of real photos, for a few seconds of work; one file is no image."""
    random = Random(0)
    sources = []
    for name in _PHOTOS:
        with Image.open(f"{skimage.data_dir}/{name}") as photo:
            sources.append(photo.convert("RGB"))
    for name in ("images", "labelled/one", "labelled/two", "tmp"):
        (folder / name).mkdir(parents=True)
    for number in range(_IMAGES):
        source, side, path = (
            sources[number % len(sources)],
            random.randint(60, 250),
            folder / "images" / f"{number:03}.jpg",
        )
        left, top = (random.randrange(size - side) for size in source.size)
        source.crop((left, top, left + side, top + side)).resize((900, 900)).save(path)
        shutil.copy(path, folder / "labelled" / ("one", "two")[number % 2])
    (folder / "images" / "007.jpg").write_bytes(b"no image")


def run(command: Command, folder: Path, *, kills: int, random: Random) -> Outcomes:
    """Kills it so often, at moments spread over as long as it takes."""
    outcomes, takes = Outcomes(), _seconds(command, folder)
    while outcomes.kills < kills:
        if outcomes.runs % 2 == 0:
            _clear(command)
        _kill_repeatedly(
            command, folder, outcomes, lambda: takes * random.random(), min(_RUN_LENGTH, kills - outcomes.kills)
        )
        outcomes.runs += 1
        outcomes.finished += _finish(command, folder)
        outcomes.hidden += any(path.name.startswith(".") for path in command.output.parent.iterdir())
    return outcomes


def _kill_repeatedly(
    command: Command, folder: Path, outcomes: Outcomes, moment: Callable[[], float], kills: int
) -> None:
    """Until the command was killed so often, or was done before."""
    kept = 0
    for _ in range(kills):
        if not _start_and_kill(command, folder, moment()):
            return
        outcomes.kills += 1
        state, before, kept = _left(command), kept, _kept(command)
        outcomes.lost += state == "absent" and kept < before
        setattr(outcomes, state, getattr(outcomes, state) + 1)


def _start_and_kill(command: Command, folder: Path, after_s: float) -> bool:
    """Kills it, and all that it started; False where it was done already."""
    process = _popen(command.arguments, folder)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
        return False
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def _left(command: Command) -> str:
    """half: any file that can be seen, of which not all is there."""
    if not all(_is_whole(command, path) for path in _visible(command)):
        return "half"
    return "whole" if command.output.exists() else "absent"


def _is_whole(command: Command, path: Path) -> bool:
    try:
        return command.whole(path)
    except Exception as error:  # whatever a damaged file makes its reader raise
        sys.stderr.write(f"{path.name}: {error!r}\n")
        return False


def _visible(command: Command) -> list[Path]:
    return [
        path for path in command.output.parent.iterdir() if not path.name.startswith(".") and path.suffix != _JOURNAL
    ]


def _kept(command: Command) -> int:
    return command.kept(command.output)


def _finish(command: Command, folder: Path) -> bool:
    """Whether the next run, undisturbed, ends well and leaves the whole file, and no journal."""
    return _popen(command.arguments, folder).wait(_LIMIT_S) in (0, 1) and _is_done(command)


def _is_done(command: Command) -> bool:
    return _left(command) == "whole" and not list(command.output.parent.glob(f"*{_JOURNAL}"))


def _clear(command: Command) -> None:
    shutil.rmtree(command.output.parent, ignore_errors=True)
    command.output.parent.mkdir()


def _seconds(command: Command, folder: Path) -> float:
    """How long it takes when nothing disturbs it. Raises RuntimeError when it cannot be done at all."""
    _clear(command)
    start = time.monotonic()
    _popen(command.arguments, folder).wait(_LIMIT_S)
    seconds = time.monotonic() - start
    if not _is_done(command):
        raise RuntimeError(f"it does not even work undisturbed: {command.arguments}: {(folder / 'stderr').read_text()}")
    return seconds


def _popen(arguments: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO), "TMPDIR": str(folder / "tmp")}
    with (folder / "stderr").open("wb") as errors:
        return subprocess.Popen(
            arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )


def _same_bytes(path: Path, reference: Path) -> bool:
    return path.read_bytes() == reference.read_bytes()


def _same_table(path: Path, reference: Path) -> bool:
    return bool(pyarrow.parquet.read_table(path).equals(pyarrow.parquet.read_table(reference)))


def _journal_rows(output: Path) -> int:
    """Whole lines after the first, which says what the rows are of."""
    journal = output.with_name(output.name + _JOURNAL)
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def _rounds(output: Path) -> int:
    measurements = output.with_name("measurements.json")
    runs = json.loads(measurements.read_text())["runs"].values() if measurements.exists() else ()
    return sum(len(found["rounds"]) for found in runs)


def _is_of_a_comparison(path: Path) -> bool:
    """Each of its files, by its kind."""
    match path.suffix:
        case ".json":
            document = json.loads(path.read_text())
            return path.name == "measurements.json" or len(document["rows"]) == 1
        case ".png":
            with Image.open(path) as image:
                image.load()
        case ".svg":
            ElementTree.parse(path)
        case ".html":
            return path.read_text().rstrip().endswith("</html>")
        case _:
            return False
    return True


def _is_artifact(path: Path) -> bool:
    """Proved, sealed, and ONNX Runtime loads it."""
    from torchless.engine.classifier import Classifier
    from torchless.model.artifact import read_artifact
    from torchless.model.seal import Seal

    artifact = read_artifact(path)
    proved = artifact.manifest.parity is not None and artifact.manifest.parity.passed
    return proved and artifact.seal is Seal.INTACT and Classifier(path, device="cpu", threads=1).threads == 1


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills")
    parser.add_argument("json", type=Path)
    parser.add_argument("commands", nargs="*")
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    figures, model, bad = given.json.resolve(), (given.model or small_model()).resolve(), False
    with tempfile.TemporaryDirectory(prefix="torchless-kills-") as name:
        folder = Path(name)
        prepare(folder)
        known = commands(folder, model)
        for wanted in given.commands or [*KILLS, "serve"]:
            name, _, count = wanted.partition("=")
            start = time.monotonic()
            outcomes: Outcomes | workers.Outcomes
            if name == "serve":
                image = (folder / "images" / "000.jpg").read_bytes()
                kills = int(count or workers.KILLS)
                outcomes = workers.run(folder / "serve", model, image, kills=kills, random=Random(name))
            else:
                outcomes = run(known[name], folder, kills=int(count or KILLS[name]), random=Random(name))
            told: dict[str, object] = {"seconds": round(time.monotonic() - start), **here()}
            keep(figures, "worker_kills" if name == "serve" else "kills", name, asdict(outcomes) | told)
            sys.stdout.write(f"{name}: {outcomes}, {told['seconds']} s\n")
            bad = bad or outcomes.bad
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
