"""A short run of every target, in seconds; the inputs that once found something; and the figures of the long run in the
docs.
"""

import json
import pickle
from pathlib import Path
from random import Random

import pytest
from tests.conftest import REPO
from tests.fuzz import campaign, checkpoints, kills, targets
from tests.fuzz.__main__ import COUNTS
from tests.server_process import wait_until

SHORT = {
    "classifier": 250,
    "infer": 30,
    "http": 80,
    "server": 40,
    "manifests": 80,
    "models": 120,
    "checkpoints": 60,
    "labels": 150,
}
REGRESSIONS = sorted(path for path in (Path(__file__).parent / "regressions").glob("*/*") if path.is_file())


@pytest.mark.parametrize("target", SHORT)
def test_a_short_run_finds_nothing(target: str, tiny: Path) -> None:
    tally = campaign.run(target, tiny, seed=2, first=0, count=SHORT[target])
    assert [story for _, story in tally.findings] == []
    assert tally.inputs == SHORT[target]
    assert len(tally.outcomes) > 1, "all inputs ended alike: they are no test"


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_inputs_that_once_found_something(
    path: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = targets.TARGETS[path.parent.name](tmp_path, tiny)
    try:
        assert target.run(path.read_bytes()) != targets.RESULT
    finally:
        target.close()


PLANTED = """
import os, time, tests.fuzz.targets as targets
from tests.fuzz.worker import main
def bad(self, data, run=targets.Labels.run):
    self.number = getattr(self, "number", FIRST - 1) + 1
    if self.number == 1: raise ValueError("oops")
    if self.number == 2: os.kill(os.getpid(), 11)
    if self.number == 4: time.sleep(600)
    return run(self, data)
import sys
FIRST = int(sys.argv[5])
targets.Labels.run = bad
main()
"""


def test_the_harness_finds_what_it_is_for(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An error of the wrong kind, a crash, and a hang, planted into the worker; the inputs after each are run all the
    same.
    """
    (tmp_path / "planted.py").write_text(PLANTED)
    monkeypatch.setattr(campaign, "WORKER", [str(tmp_path / "planted.py")])
    monkeypatch.setattr(campaign, "LIMIT_S", 5.0)
    monkeypatch.setenv("PYTHONPATH", str(campaign.REPO))
    tally = campaign.run("labels", tiny, seed=2, first=0, count=6)
    assert tally.inputs == 6
    wanted = {1: "ValueError: oops", 2: "SIGSEGV", 4: "no answer in time"}
    assert [number for number, _ in tally.findings] == list(wanted)
    assert all(wanted[number] in story for number, story in tally.findings)


STOP = "[ -e undisturbed ] || { touch stopped; sleep 600; }"
HALF = f"echo one > out/x.txt; {STOP}; echo two >> out/x.txt"
WHOLE = f"echo one > out/x.txt; echo two >> out/x.txt; {STOP}"


def test_the_killer_finds_half_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that writes its file in place, and one that does nothing for long after it has. Both are killed where
    they stop.
    """
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    start_and_kill, popen = kills._start_and_kill, kills._popen

    def start(*about: object) -> object:
        process = popen(*about)
        wait_until(lambda: undisturbed.exists() or stopped.exists())
        return process

    def kill_where_it_stops(command: kills.Command, folder: Path, _: float) -> bool:
        undisturbed.unlink()
        stopped.unlink(missing_ok=True)
        killed = start_and_kill(command, folder, 0)
        undisturbed.touch()
        return killed

    monkeypatch.setattr(kills, "_popen", start)
    monkeypatch.setattr(kills, "_start_and_kill", kill_where_it_stops)
    undisturbed.touch()
    found = {}
    for name, script in (("half", HALF), ("whole", WHOLE)):
        command = kills.Command(
            ["sh", "-c", script], tmp_path / "out" / "x.txt", lambda path: path.read_text() == "one\ntwo\n"
        )
        found[name] = kills.run(command, tmp_path, kills=3, random=Random(5))
    assert found["half"].bad
    assert (found["half"].kills, found["half"].runs, found["half"].finished) == (3, 1, 1)
    assert found["half"].half == 3
    assert (found["whole"].bad, found["whole"].half) == (False, 0)


def test_the_malicious_pickles_bite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads them without care runs them: otherwise nothing would be proved."""
    monkeypatch.chdir(tmp_path)
    assert all(map(checkpoints.runs_code, checkpoints.pickles()))
    pickle.loads(checkpoints.pickles()[0])
    assert Path(checkpoints.MARKER).exists()


def test_an_input_can_be_made_again(tiny: Path, tmp_path: Path) -> None:
    target = targets.Decoding(tmp_path, tiny)
    assert target.make(Random("classifier 1 7")) == target.make(Random("classifier 1 7"))


def test_each_promised_kill_was_made_and_left_nothing_half() -> None:
    rows = json.loads((REPO / "figures" / "reliability.json").read_text())["kills"]
    assert {name: row["kills"] for name, row in rows.items()} == kills.KILLS
    assert sum(kills.KILLS.values()) == 100
    assert not any(
        kills.Outcomes(**{name: row[name] for name in kills.Outcomes.__dataclass_fields__}).bad for row in rows.values()
    )


def test_each_promised_input_was_tried_and_found_nothing() -> None:
    rows = json.loads((REPO / "figures" / "reliability.json").read_text())["fuzz"]
    assert {name: row["inputs"] for name, row in rows.items()} == COUNTS
    assert COUNTS["classifier"] + COUNTS["infer"] >= 20_000
    assert COUNTS["manifests"] + COUNTS["models"] >= 5_000
    assert COUNTS["checkpoints"] >= 2_000
    assert not any(row["findings"] for row in rows.values())
