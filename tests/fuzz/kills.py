"""make faults: kill -9 at random moments of commands that write, and a look at what they leave.

    python -m tests.fuzz.kills docs/reliability.json [--model FILE.onnx] [COMMAND[=KILLS] …]

The same command is started again after each kill, with --resume where there is that, until RUN_LENGTH kills have met it; then it may finish,
and its file is compared with that of a run that nothing disturbed.
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
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pyarrow.parquet
import skimage
from PIL import Image
from tests.fuzz.__main__ import keep, small_model
from tests.fuzz.campaign import REPO

BIN = Path(sys.executable).parent
KILLS = {"infer -o rows.parquet": 30, "infer -o rows.jsonl": 25, "evaluate -o rows.csv": 20, "compare": 10, "export": 15}
_RUN_LENGTH = 5
_IMAGES = 60


@dataclass
class Command:
    """`arguments` with {} for the model. `whole` says whether a file is one that a finished run leaves."""

    arguments: list[str]
    output: str
    whole: Callable[[Path], bool]
    resumes: bool = False


@dataclass
class Outcomes:
    """How often a killed run left nothing, the whole file, or something else; and how many went on to the end afterwards."""

    kills: int = 0
    left: Counter[str] = field(default_factory=Counter)
    finished: int = 0


def commands(folder: Path, model: Path) -> dict[str, Command]:
    """The commands, with reference files made by runs that nothing disturbs."""
    rows = {suffix: f"rows.{suffix}" for suffix in ("parquet", "jsonl", "csv")}
    infer = [str(BIN / "infer"), str(model), "images", "-d", "cpu", "--workers", "1", "-o"]
    evaluate = [str(BIN / "torchless"), "evaluate", str(model), "labelled", "-d", "cpu", "--workers", "1", "-o"]
    compare = [str(BIN / "torchless"), "compare", str(model), "-d", "cpu", "--rounds", "2", "--seconds", "0.2", "-o", "comparison"]
    export = [str(BIN / "torchless"), "export", "tiny", "--builder", "tests.models:tiny", "-o", str(folder / "out" / "tiny.onnx")]
    return {
        "infer -o rows.parquet": Command(
            [*infer, rows["parquet"]], rows["parquet"], _same_table(_reference(folder, [*infer, "whole.parquet"])), True
        ),
        "infer -o rows.jsonl": Command([*infer, rows["jsonl"]], rows["jsonl"], _same_bytes(_reference(folder, [*infer, "whole.jsonl"])), True),
        "evaluate -o rows.csv": Command([*evaluate, rows["csv"]], rows["csv"], _same_bytes(_reference(folder, [*evaluate, "whole.csv"])), True),
        "compare": Command(compare, "comparison/comparison.json", _is_comparison),
        "export": Command(export, "out/tiny.onnx", _is_artifact),
    }


def prepare(folder: Path) -> None:
    """Images for a few seconds of work, one of them none."""
    (folder / "images").mkdir()
    with Image.open(f"{skimage.data_dir}/coffee.png") as photo:
        photo.convert("RGB").resize((1500, 1000)).save(folder / "images" / "000.jpg")
    for number in range(1, _IMAGES):
        shutil.copy(folder / "images" / "000.jpg", folder / "images" / f"{number:03}.jpg")
    (folder / "images" / "007.jpg").write_bytes(b"no image")
    for label in ("one", "two"):
        shutil.copytree(folder / "images", folder / "labelled" / label)


def run(command: Command, folder: Path, *, kills: int, random: Random) -> Outcomes:
    """Kills it so often, at moments spread over as long as it takes."""
    outcomes, takes = Outcomes(), _seconds(command, folder)
    while outcomes.kills < kills:
        for _ in range(min(_RUN_LENGTH, kills - outcomes.kills)):
            _start_and_kill(command, folder, takes * random.random())
            outcomes.kills += 1
            outcomes.left[_left(command, folder)] += 1
        outcomes.finished += _finish(command, folder)
        _clear(command, folder)
    return outcomes


def _start_and_kill(command: Command, folder: Path, after_s: float) -> None:
    """And with it all that it started."""
    process = _popen(_resumed(command, folder), folder)
    time.sleep(after_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _left(command: Command, folder: Path) -> str:
    path = folder / command.output
    if not path.exists():
        return "absent"
    return "whole" if command.whole(path) else "half"


def _finish(command: Command, folder: Path) -> bool:
    """Whether the next run, undisturbed, ends well and leaves the whole file and nothing else."""
    path = folder / command.output
    if not path.exists():
        _popen(_resumed(command, folder), folder).wait(300)
    litter = [left.name for left in path.parent.iterdir() if left.name.endswith(".partial") or (".onnx" in left.name and left != path)]
    return path.exists() and command.whole(path) and not litter


def _clear(command: Command, folder: Path) -> None:
    path = folder / command.output
    if path.parent != folder:
        shutil.rmtree(path.parent, ignore_errors=True)
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".partial").unlink(missing_ok=True)


def _resumed(command: Command, folder: Path) -> list[str]:
    return [*command.arguments, "--resume"] if command.resumes else command.arguments


def _seconds(command: Command, folder: Path) -> float:
    start = time.monotonic()
    _popen(command.arguments, folder).wait(600)
    _clear(command, folder)
    return time.monotonic() - start


def _popen(arguments: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _reference(folder: Path, arguments: list[str]) -> Path:
    path = folder / arguments[-1]
    if not path.exists():
        _popen(arguments, folder).wait(600)
    return path


def _same_bytes(reference: Path) -> Callable[[Path], bool]:
    return lambda path: path.read_bytes() == reference.read_bytes()


def _same_table(reference: Path) -> Callable[[Path], bool]:
    return lambda path: pyarrow.parquet.read_table(path).equals(pyarrow.parquet.read_table(reference))


def _is_comparison(path: Path) -> bool:
    return len(json.loads(path.read_text())["rows"]) == 1


def _is_artifact(path: Path) -> bool:
    from torchless.artifact import read_artifact
    from torchless.trust import Seal, check_seal

    artifact = read_artifact(path)
    return artifact.manifest.parity is not None and artifact.manifest.parity.passed and check_seal(artifact.file) is Seal.INTACT


def main() -> int:
    """The exit code: 1 where a kill left something half done, or that could not be finished."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills")
    parser.add_argument("json", type=Path)
    parser.add_argument("commands", nargs="*")
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    model, bad = (given.model or small_model()).resolve(), 0
    with tempfile.TemporaryDirectory(prefix="torchless-kills-") as name:
        folder = Path(name)
        prepare(folder)
        known = commands(folder, model)
        for wanted in given.commands or KILLS:
            name, _, count = wanted.partition("=")
            outcomes = run(known[name], folder, kills=int(count or KILLS[name]), random=Random(name))
            left = outcomes.left
            row = {"kills": outcomes.kills, "absent": left["absent"], "whole": left["whole"], "half": left["half"]}
            runs = -(-outcomes.kills // _RUN_LENGTH)
            keep(given.json, "kills", name, row | {"finished": outcomes.finished, "of": runs})
            sys.stdout.write(f"{name}: {row}, {outcomes.finished} of {runs} finished\n")
            bad += left["half"] + (outcomes.finished != runs)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
