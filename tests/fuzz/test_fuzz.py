"""A short run of every target, in seconds; the inputs that once found something; and the figures of the long run in the docs."""

import pickle
from pathlib import Path
from random import Random

import pytest
from tests.conftest import load_tool
from tests.fuzz import campaign, checkpoints, targets
from tests.fuzz.__main__ import COUNTS

SHORT = {"classifier": 250, "infer": 30, "http": 80, "server": 40, "manifests": 80, "models": 120, "checkpoints": 60, "labels": 150}
REGRESSIONS = sorted(path for path in (Path(__file__).parent / "regressions").glob("*/*") if path.is_file())


@pytest.mark.parametrize("target", SHORT)
def test_a_short_run_finds_nothing(target: str, tiny: Path) -> None:
    tally = campaign.run(target, tiny, seed=2, first=0, count=SHORT[target])
    assert [story for _, story in tally.findings] == []
    assert tally.inputs == SHORT[target]
    assert len(tally.outcomes) > 1, "all inputs ended alike: they are no test"


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_inputs_that_once_found_something(path: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = targets.TARGETS[path.parent.name](tmp_path, tiny)
    try:
        assert target.run(path.read_bytes()) != targets.RESULT
    finally:
        target.close()


@pytest.mark.parametrize(
    ("how", "found"),
    [("os.kill(os.getpid(), 11)", "SIGSEGV"), ("raise ValueError('oops')", "ValueError: oops"), ("time.sleep(60)", "no answer in time")],
)
def test_the_harness_finds_what_it_is_for(tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, found: str) -> None:
    """A crash, an error of the wrong kind, and a hang, planted into the worker; the inputs after it are run all the same."""
    planted = "import os, time, tests.fuzz.targets as targets\nrun = targets.Labels.run\n"
    planted += f"def bad(self, data):\n    if planted(self): {how}\n    return run(self, data)\n"
    planted += "def planted(self):\n    self.n = getattr(self, 'n', -1) + 1\n    return self.n == 2\n"
    (tmp_path / "planted.py").write_text(planted + "targets.Labels.run = bad\nfrom tests.fuzz.worker import main\nmain()\n")
    monkeypatch.setattr(campaign, "WORKER", [str(tmp_path / "planted.py")])
    monkeypatch.setattr(campaign, "LIMIT_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", str(campaign.REPO))
    tally = campaign.run("labels", tiny, seed=2, first=0, count=4)
    assert tally.inputs == 4
    assert [number for number, _ in tally.findings] == [2]
    assert found in tally.findings[0][1]


def test_the_malicious_pickles_bite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads them without care runs them: otherwise nothing would be proved."""
    monkeypatch.chdir(tmp_path)
    assert all(map(checkpoints.runs_code, checkpoints.pickles()))
    pickle.loads(checkpoints.pickles()[0])
    assert Path(checkpoints.MARKER).exists()


def test_an_input_can_be_made_again(tiny: Path, tmp_path: Path) -> None:
    target = targets.Decoding(tmp_path, tiny)
    assert target.make(Random("classifier 1 7")) == target.make(Random("classifier 1 7"))


def test_the_committed_page_is_filled_from_the_committed_figures() -> None:
    tool = load_tool("reliability_docs")
    page = tool.PAGE.read_text()
    assert page == tool.fill(page, tool.parts(tool.read()))


def test_of_the_committed_kills_none_left_half_a_file() -> None:
    kills = load_tool("reliability_docs").read().get("kills", {})
    assert all(row["half"] == 0 and row["finished"] == row["of"] for row in kills.values())


def test_each_committed_long_run_is_as_long_as_promised_and_found_nothing() -> None:
    fuzz = load_tool("reliability_docs").read()["fuzz"]
    assert {name: row["inputs"] for name, row in fuzz.items()} == {name: COUNTS[name] for name in fuzz}
    assert sum(COUNTS[name] for name in ("classifier", "infer", "http", "server")) >= 20_000
    assert COUNTS["manifests"] + COUNTS["models"] >= 5_000
    assert COUNTS["checkpoints"] >= 2_000
    assert all(row["findings"] == 0 for row in fuzz.values())
