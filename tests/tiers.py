"""Two tiers of tests: `make test` leaves out what is marked `slow`, and says at its very end how many that was; `make
test-all` runs all. It collects the files that hold the words "mark.slow" alone: no other may have slow tests.
"""

from typing import Any

import pytest

_LEFT = pytest.StashKey[int]()
_OUTPUT = "torchless_slow_left"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LEFT] = 0


def pytest_deselected(items: list[pytest.Item]) -> None:
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        slow[0].config.stash[_LEFT] += len(slow)
    if hidden := [str(path) for path in {item.path for item in slow} if "mark.slow" not in path.read_text("utf-8")]:
        raise pytest.UsageError(f"`make test-all` finds slow tests by the words mark.slow, which {hidden} lack")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT] = session.config.stash[_LEFT]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """All workers collect the same tests."""
    config, left = node.config, getattr(node, "workeroutput", {}).get(_OUTPUT, 0)
    config.stash[_LEFT] = max(config.stash[_LEFT], left)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    left = config.stash.get(_LEFT, 0)
    if left and not hasattr(config, "workeroutput"):
        config.get_terminal_writer().line(f"{left} slow tests were left to: make test-all")
