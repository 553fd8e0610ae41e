"""The plugin tests/parallel.py: its scheduler with workers that end at any time, and a session of pytest of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests import parallel
from tests.surroundings import PATIENCE_S

TESTS = """
import os, pytest

@pytest.mark.parametrize("number", range(12))
def test(number):
    if number == 3:
        os._exit(1)
"""


def test_a_test_that_ends_its_worker_fails_alone_and_once(tmp_path: Path) -> None:
    """As one does that hangs, after `faulthandler_timeout`."""
    shutil.copy(parallel.__file__, tmp_path / "plugin.py")
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "plugin", "-p", "no:cacheprovider", "-p", "no:randomly"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert "crashed while running 'test_it.py::test[3]'" in done.stdout
    assert "1 failed, 11 passed" in done.stdout


class Worker:
    """As xdist's: it begins a test when it knows the next one, or that there is none."""

    gateway = SimpleNamespace(id="gw")

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.shutting_down = self.has_ended = False

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        assert not self.shutting_down
        if self.has_ended:
            raise OSError("cannot send (already closed?)")
        self.waiting += indices

    def shutdown(self) -> None:
        self.shutting_down = True

    @property
    def can_run(self) -> bool:
        return not self.has_ended and len(self.waiting) >= (1 if self.shutting_down else 2)


def names_of(units: list[int]) -> list[str]:
    groups = list(parallel._TOGETHER)
    return [
        f"{groups[unit % len(groups)] if count > 1 else 'alone'}.py::test[{unit}-{number}]"
        for unit, count in enumerate(units)
        for number in range(count)
    ]


def collected(scheduler: Any, worker: Worker, names: list[str]) -> None:
    scheduler.add_node_collection(worker, names)
    if scheduler.collection_is_completed:
        scheduler.schedule()


@given(
    units=st.lists(st.integers(1, 3), min_size=1, max_size=8),
    deadly=st.sets(st.integers(0, 15)),
    choices=st.lists(st.integers(0, 3), max_size=40),
)
def test_each_test_runs_once_whichever_end_their_workers(
    units: list[int], deadly: set[int], choices: list[int]
) -> None:
    """`units` are numbers of tests that stay together: those of the groups, and single ones. `choices` say who is next:
    a worker with a test, one that starts, or the news of the test that was done first.
    """
    names = names_of(units)
    option = SimpleNamespace(loadscopereorder=True)
    scheduler = parallel.pytest_xdist_make_scheduler(
        SimpleNamespace(getvalue=lambda _: ["2*popen"], option=option), None
    )
    workers: list[Any] = []

    def begin() -> Worker:
        worker = Worker()
        scheduler.add_node(worker)
        workers.append(worker)
        return worker

    for worker in [begin(), begin()]:
        collected(scheduler, worker, names)
    ran: list[int] = []
    fresh: list[Worker] = []
    news: list[tuple[Worker, int]] = []
    while ready := [worker for worker in workers if worker.can_run] + fresh + news[:1]:
        chosen = ready[(choices.pop() if choices else 0) % len(ready)]
        if chosen in fresh:
            fresh.remove(chosen)
            collected(scheduler, chosen, names)
            continue
        if chosen in workers:
            ran.append(chosen.waiting.pop(0))
            chosen.has_ended = ran[-1] in deadly
            news.append((chosen, ran[-1]))
            continue
        worker, test = news.pop(0)
        if test in deadly:
            assert scheduler.remove_node(worker) == names[test]
            workers.remove(worker)
            fresh.append(begin())
        else:
            scheduler.mark_test_complete(worker, test)
        if scheduler.tests_finished:
            for other in scheduler.nodes:
                other.shutdown()
    assert sorted(ran) == list(range(len(names)))
