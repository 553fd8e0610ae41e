"""What `-n` does here: each worker keeps to one core, some modules keep to one worker, and a test that ends its worker
fails alone. A pytest plugin.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.workermanage import WorkerController

# Which group a module belongs to.
_TOGETHER = {name: name for name in ("test_finetuned", "test_install", "test_journal", "test_mutations", "test_page")}
_TOGETHER |= dict.fromkeys(("test_ray_batch", "test_ray_serve"), "ray")


def _take_one_core(worker: str) -> None:
    """Two processes of two threads each take many times as long on two cores. Children do as their worker."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
    os.environ["OMP_NUM_THREADS"] = "1"


if _worker := os.environ.get("PYTEST_XDIST_WORKER"):  # now: other conftests ask how many cores there are
    _take_one_core(_worker)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Modules with something costly that their tests share stay with one worker; other tests go wherever there is time
    for them.

    Not xdist's own --dist loadgroup: it (3.8) marks groups in names that pytest 9.2 no longer takes from it, and
    silently groups nothing.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _TOGETHER.get(Path(nodeid.partition("::")[0]).stem, nodeid)

        def _reschedule(self, node: "WorkerController") -> None:
            """A worker keeps its last test until it knows the next one, and xdist (3.8) gives one unit at a time, whose
            tests may be done: then all wait for ever, after a worker that ended.
            """
            if node not in self.registered_collections:
                return  # it has just taken the place of another
            while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) <= 2:
                self._assign_work_unit(node)
            if not self.workqueue:
                node.shutdown()  # after what it has

        def _assign_work_unit(self, node: "WorkerController") -> None:
            """A worker may have ended before that is known here; what it was given comes back then."""
            with suppress(OSError):
                super()._assign_work_unit(node)

        def remove_node(self, node: "WorkerController") -> str | None:
            """The test that ended its worker is done; xdist (3.8) would run it again, and so without end."""
            tests = [(unit, test) for unit in self.assigned_work[node].values() for test in unit if not unit[test]]
            for unit, test in tests[:1]:
                unit[test] = True
            super().remove_node(node)
            return tests[0][1] if tests else None

    return Together(config, log)
