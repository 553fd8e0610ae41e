import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from tests.surroundings import PATIENCE_S

from torchless.engine.ordered import map_in_order
from torchless.engine.plan import Plan, make_plan
from torchless.errors import UsageError


@pytest.mark.parametrize(
    ("batches", "workers", "threads", "cpus", "plan"),
    [
        (1, None, None, 4, Plan(1, 4)),  # one image: all threads for it
        (2, None, None, 4, Plan(2, 3)),
        (4, None, None, 4, Plan(4, 1)),  # many: as many workers as processors
        (99, None, None, 4, Plan(4, 1)),
        (99, None, None, 1, Plan(1, 1)),
        (99, None, 1, 4, Plan(4, 1)),
        (99, None, 3, 4, Plan(2, 3)),  # the other follows from the one that was given
        (99, None, 8, 4, Plan(1, 8)),
        (99, 1, None, 4, Plan(1, 4)),
        (99, 3, None, 4, Plan(3, 2)),
        (99, 8, None, 4, Plan(8, 1)),
        (99, 3, 4, 4, Plan(3, 4)),  # as told
        (2, 3, 4, 4, Plan(2, 4)),
        (0, None, None, 4, Plan(1, 4)),
    ],
)
def test_plans(batches: int, workers: int | None, threads: int | None, cpus: int, plan: Plan) -> None:
    assert make_plan(batches, workers=workers, threads=threads, cpus=cpus) == plan


@given(
    batches=st.integers(0, 200), cpus=st.integers(1, 128), given_=st.none() | st.integers(1, 128), which=st.booleans()
)
def test_a_plan_takes_no_more_threads_than_there_are_processors(
    batches: int, cpus: int, given_: int | None, which: bool
) -> None:
    plan = make_plan(batches, workers=given_ if which else None, threads=None if which else given_, cpus=cpus)
    assert plan.workers + plan.threads - 1 <= max(cpus, given_ or 1)
    assert min(plan.workers, plan.threads) >= 1
    assert plan.workers <= max(1, batches)


def test_a_plan_follows_the_affinity_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless.engine.plan.available_cpus", lambda: 3)
    assert make_plan(9) == Plan(3, 1)
    for name in ("workers", "threads"):
        with pytest.raises(UsageError, match=f"`{name}` must be at least 1, got 0"):
            make_plan(9, **{name: 0})


@settings(max_examples=30)
@given(delays=st.lists(st.integers(0, 3), max_size=30), workers=st.integers(1, 6))
def test_order_is_kept_whatever_takes_long(delays: list[int], workers: int) -> None:
    def slow(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 1000)
        return item[0]

    assert list(map_in_order(slow, enumerate(delays), workers=workers)) == list(range(len(delays)))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_what_is_in_flight_is_bounded(workers: int) -> None:
    taken, most, running, lock = 0, 0, 0, threading.Lock()

    def items() -> Iterator[int]:
        nonlocal taken
        while taken < 100:
            taken += 1
            yield taken

    def count(item: int) -> int:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.001)
        with lock:
            running -= 1
        return item

    for done, item in enumerate(map_in_order(count, items(), workers=workers), start=1):
        assert item == done
        assert taken <= done + 2 * workers
    assert done == 100
    assert most <= workers


def test_results_come_as_soon_as_they_are_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window need not fill first: a slow source does not hold back what is done."""
    gate, submit, futures = threading.Event(), ThreadPoolExecutor.submit, []
    monkeypatch.setattr(
        ThreadPoolExecutor, "submit", lambda self, *work: futures.append(submit(self, *work)) or futures[-1]
    )

    def items() -> Iterator[int]:
        yield 1
        wait(futures)
        yield 2
        assert gate.wait(PATIENCE_S)  # opened by the first result
        yield 3

    results = []
    for result in map_in_order(lambda item: item, items(), workers=4):
        results.append(result)
        gate.set()
    assert results == [1, 2, 3]


@pytest.mark.parametrize("workers", [1, 3])
def test_errors_come_in_their_place(workers: int) -> None:
    def fail_at_five(item: int) -> int:
        if item == 5:
            raise KeyError(item)
        return item

    def broken_source() -> Iterator[int]:
        yield from range(4)
        raise OSError("the source broke")

    seen: list[int] = []
    with pytest.raises(KeyError):
        seen.extend(seen_first(map_in_order(fail_at_five, range(9), workers=workers), seen))
    assert seen == [0, 1, 2, 3, 4]
    seen.clear()
    with pytest.raises(OSError, match="the source broke"):
        seen.extend(seen_first(map_in_order(fail_at_five, broken_source(), workers=workers), seen))
    assert seen == [0, 1, 2, 3]


def seen_first(results: Iterator[int], seen: list[int]) -> Iterator[int]:
    """Nothing; but it notes each result when it comes."""
    for result in results:
        seen.append(result)
        yield from ()


def test_stopping_early_drops_what_waits_and_leaves_no_thread() -> None:
    before, done = set(threading.enumerate()), []

    def work(item: int) -> int:
        time.sleep(0.002)
        done.append(item)
        return item

    results = map_in_order(work, range(1000), workers=3)
    assert next(results) == 0
    results.close()
    assert set(threading.enumerate()) <= before
    assert len(done) < 20
