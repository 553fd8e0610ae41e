"""The batcher by itself, with doubles for models whose answer tells what they were given."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.surroundings import PATIENCE_S

from torchless.errors import ImageDecodeError, InferenceError
from torchless.image.decode import Decoded
from torchless.serve.batcher import Batcher
from torchless.serve.errors import OverloadedError, RequestError, UnloadedError
from torchless.serve.jobs import ImageLogits, Worked, bucket_sizes


class Double:
    """An image is a number in text; the answer is that number and the model's own."""

    def __init__(
        self,
        name: str = "a",
        factor: int = 1,
        *,
        exclusive: bool = False,
        max_batch_size: int = 8,
        release: threading.Event | None = None,
        apart: Iterable[bool] | None = None,
        max_apart: int = 1,
    ) -> None:
        """`apart` tells, for one image after the other, whether another process is free for it."""
        self.name, self.version, self.factor, self.exclusive, self.release = name, "1", factor, exclusive, release
        self.max_batch_size = max_batch_size
        self.free = iter(apart or ())
        self.apart = self.work if apart is not None else None
        self.max_apart = max_apart
        self.worked: list[list[int]] = []
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.at_once = self.most_at_once = 0

    def decode(self, data: bytes) -> Decoded:
        if data == b"bad":
            raise ImageDecodeError("bad")
        return Decoded(Image.new("F", (1, 1), int(data)))

    def prepare(self, rgb: Image.Image) -> np.ndarray:
        return np.asarray(rgb, dtype=np.float32).reshape(1)

    def work(self, images: Sequence[bytes]) -> list[Worked | Exception] | None:
        if not next(self.free):
            return None
        self.worked.append([int(image) if image != b"bad" else -1 for image in images])
        good = sum(image not in {b"bad", b"666"} for image in images)
        return [
            ImageDecodeError("bad")
            if image == b"bad"
            else InferenceError("666")
            if image == b"666"
            else Worked(self._logits(np.full((1, 1), int(image)))[0], 0.0, 0.1, 0.2, 0.3, good, "pale")
            for image in images
        ]

    def _logits(self, batch: np.ndarray) -> np.ndarray:
        return np.concatenate([batch, np.full_like(batch, self.factor)], axis=1)

    def run(self, images: list[np.ndarray], *, alone: bool) -> np.ndarray:
        batch = np.stack(images)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        self.entered.release()
        if self.release is not None:
            assert self.release.wait(PATIENCE_S)
        self.batches.append([int(value) for value in batch[:, 0]])
        self.at_once -= 1
        if 666 in self.batches[-1]:
            raise InferenceError("666")
        return self._logits(batch)


class Deaf:
    def queue_changed(self, waiting: int) -> None: ...

    def batch_done(self, model: Double, size: int) -> None: ...

    def image_done(self, model: Double, outcome: object, timings: object) -> None: ...


def in_loop(test: Callable[..., Awaitable[Any]], **options: Any) -> Any:
    """Runs `test` with a batcher, which is closed after."""

    async def main() -> Any:
        batcher = Batcher(**({"threads": 1, "delay_s": 0, "max_queue": 100, "watcher": Deaf()} | options))
        try:
            return await asyncio.wait_for(test(batcher), PATIENCE_S)
        finally:
            await asyncio.wait_for(batcher.close(), PATIENCE_S)

    return asyncio.run(main())


def images(*numbers: int) -> list[bytes]:
    return [str(number).encode() for number in numbers]


def tensors(*numbers: int) -> list[np.ndarray]:
    return [np.full(1, number, np.float32) for number in numbers]


async def entered(model: Double) -> None:
    assert await asyncio.to_thread(model.entered.acquire, timeout=PATIENCE_S)


def value_of(result: ImageLogits) -> tuple[int, int]:
    return int(result.logits[0]), int(result.logits[1])


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])])
def test_buckets(most: int, sizes: list[int]) -> None:
    assert bucket_sizes(most) == sizes


def test_a_lone_image_never_waits_for_company() -> None:
    async def test(batcher: Batcher) -> None:
        (future,) = batcher.submit(Double(), images(7), deadline_s=PATIENCE_S)
        assert value_of(await future) == (7, 1)

    in_loop(test, delay_s=3600)


def test_a_batch_waits_for_images_that_are_being_decoded() -> None:
    model = Double()

    async def test(batcher: Batcher) -> None:
        answers = await asyncio.gather(*batcher.submit(model, images(1, 2, 3, 4), deadline_s=PATIENCE_S))
        assert [value_of(answer) for answer in answers] == [(1, 1), (2, 1), (3, 1), (4, 1)]
        assert {answer.batch_size for answer in answers} == {4}

    in_loop(test, delay_s=3600)
    assert model.batches == [[1, 2, 3, 4]]


def test_what_piles_up_behind_a_busy_device_runs_together_in_sizes_that_are_warm() -> None:
    model, release = Double(exclusive=True, release=threading.Event()), threading.Event()
    model.release = release

    async def test(batcher: Batcher) -> None:
        first = batcher.submit(model, images(0), deadline_s=PATIENCE_S)
        await entered(model)
        rest = batcher.submit(model, [np.array([n], np.float32) for n in range(1, 14)], deadline_s=PATIENCE_S)
        release.set()
        await asyncio.gather(*first, *rest)

    in_loop(test, threads=3)
    assert model.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12], [13]]
    assert model.most_at_once == 1


def test_a_batch_that_fails_is_tried_one_by_one() -> None:
    async def test(batcher: Batcher) -> list[Any]:
        tensors = [np.array([n], np.float32) for n in (1, 666, 3)]
        return await asyncio.gather(*batcher.submit(Double(), tensors, deadline_s=PATIENCE_S), return_exceptions=True)

    one, two, three = in_loop(test)
    assert (value_of(one), str(two), value_of(three)) == ((1, 1), "666", (3, 1))


@pytest.mark.parametrize("of", [images, tensors])
def test_a_full_queue_refuses_and_a_cancelled_image_makes_room(of: Callable[..., list]) -> None:
    model = Double(release=threading.Event())

    async def test(batcher: Batcher) -> None:
        running = batcher.submit(model, of(0), deadline_s=PATIENCE_S)
        await entered(model)
        waiting = batcher.submit(model, of(1, 2), deadline_s=PATIENCE_S)
        with pytest.raises(OverloadedError, match=r"the queue is full: 2 of 3 images wait; try again in 1 s"):
            batcher.submit(model, of(3, 4), deadline_s=PATIENCE_S)
        with pytest.raises(RequestError, match="4 images, the server takes at most 3"):
            batcher.submit(model, of(3, 4, 5, 6), deadline_s=PATIENCE_S)
        waiting[0].cancel()
        await asyncio.sleep(0)
        later = batcher.submit(model, of(3, 4), deadline_s=PATIENCE_S)
        model.release.set()
        answers = await asyncio.gather(*running, waiting[1], *later)
        assert [value_of(answer)[0] for answer in answers] == [0, 2, 3, 4]

    in_loop(test, max_queue=3)
    assert sorted(number for batch in model.batches for number in batch) == [0, 2, 3, 4]


def test_a_wait_beyond_the_deadline_is_refused_at_once() -> None:
    model = Double(release=threading.Event())

    async def test(batcher: Batcher) -> None:
        batcher._seconds_per_image[model.name] = 2.5
        futures = batcher.submit(model, images(0), deadline_s=9)
        await entered(model)
        futures += batcher.submit(model, images(1, 2), deadline_s=9)
        with pytest.raises(OverloadedError, match=r"would take 5.0 s, the deadline is 4 s; try again in 5 s") as caught:
            batcher.submit(model, images(3), deadline_s=4)
        assert caught.value.headers == {"retry-after": "5"}
        model.release.set()
        await asyncio.gather(*futures)

    in_loop(test)


@pytest.mark.parametrize("of", [images, tensors])
def test_models_take_turns_and_have_queues_of_their_own(of: Callable[..., list]) -> None:
    """However many images of one model wait, those of another have room, and are next."""
    release = threading.Event()
    busy, other = (Double(name, factor, release=release, max_batch_size=1) for name, factor in (("a", 1), ("b", 2)))
    order: list[str] = []

    async def test(batcher: Batcher) -> None:
        first = batcher.submit(busy, of(0), deadline_s=PATIENCE_S)
        await entered(busy)
        many = batcher.submit(busy, of(*range(1, 101)), deadline_s=PATIENCE_S)
        with pytest.raises(OverloadedError, match="100 of 100 images wait"):
            batcher.submit(busy, of(101), deadline_s=PATIENCE_S)
        batcher._seconds_per_image = {"a": 3600, "b": 0.1}
        few = batcher.submit(other, of(1, 2), deadline_s=4000)
        for future in (*many, *few):
            future.add_done_callback(lambda done: order.append("ab"[value_of(done.result())[1] - 1]))
        release.set()
        await asyncio.gather(*first, *many, *few)

    in_loop(test)
    last = len(order) - 1 - order[::-1].index("b")
    assert order[: last + 1].count("a") <= 4


def test_threads_that_do_not_end_are_left_behind_once_nobody_waits_for_them() -> None:
    stuck = Double(release=threading.Event())

    async def test() -> threading.Thread:
        batcher = Batcher(threads=1, delay_s=0, max_queue=100, watcher=Deaf())
        (future,) = batcher.submit(stuck, images(0), deadline_s=PATIENCE_S)
        await entered(stuck)
        future.cancel()
        assert await batcher.close(patience_s=0.05) == 1
        return batcher._threads[0]

    thread = asyncio.run(test())
    stuck.release.set()
    thread.join(PATIENCE_S)  # raises nothing though nobody is there


def test_closing_finishes_what_was_taken_and_takes_no_more() -> None:
    async def test(batcher: Batcher) -> None:
        futures = batcher.submit(Double(), images(*range(20)), deadline_s=PATIENCE_S)
        await batcher.close()
        assert [value_of(await future)[0] for future in futures] == list(range(20))
        with pytest.raises(UnloadedError, match="stopping"):
            batcher.submit(Double(), images(1), deadline_s=PATIENCE_S)

    in_loop(test, threads=2)


def test_another_process_does_all_of_an_image_unless_it_is_alone_or_none_is_free() -> None:
    model, seen = Double(apart=[True, False, True]), []

    class Watching(Deaf):
        def batch_done(self, model: Double, size: int) -> None:
            seen.append((model.name, size))

        def image_done(self, model: Double, outcome: object, timings: Any) -> None:
            seen.append((timings.decode, timings.preprocess, timings.inference))

    async def test(batcher: Batcher) -> None:
        (future,) = batcher.submit(model, images(0), deadline_s=PATIENCE_S)
        assert value_of(await future) == (0, 1)
        assert model.worked == []
        seen.clear()
        first, second, third = await asyncio.gather(*batcher.submit(model, images(1, 2, 3), deadline_s=PATIENCE_S))
        assert [value_of(answer) for answer in (first, second, third)] == [(1, 1), (2, 1), (3, 1)]
        assert [answer.warning for answer in (first, second, third)] == ["pale", None, None]
        assert seen[:2] == [("a", 1), (0.1, 0.2, 0.3)]

    in_loop(test, watcher=Watching())
    assert model.worked == [[1]]


@settings(max_examples=60)
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 1), st.lists(st.sampled_from([*range(50), -1, 666]), min_size=1, max_size=5)),
        max_size=12,
    ),
    threads=st.integers(1, 4),
    max_batch_size=st.integers(1, 6),
    delay_s=st.sampled_from([0, 0.001, 3600]),
    exclusive=st.booleans(),
    cancelled=st.sets(st.integers(0, 30)),
    apart=st.none() | st.lists(st.booleans(), min_size=1),
)
def test_every_image_gets_its_own_answer(
    requests, threads, max_batch_size, delay_s, exclusive, cancelled, apart
) -> None:
    """-1 is a broken image, 666 one that the model fails on."""
    models = [
        Double(
            name, factor, exclusive=exclusive, max_batch_size=max_batch_size, apart=apart and cycle(apart), max_apart=3
        )
        for name, factor in (("a", 1), ("b", 2))
    ]

    async def test(batcher: Batcher) -> None:
        futures, wanted = [], []
        for which, numbers in requests:
            futures += batcher.submit(
                models[which], [b"bad" if n < 0 else str(n).encode() for n in numbers], deadline_s=PATIENCE_S
            )
            wanted += [(n, models[which].factor) for n in numbers]
            await asyncio.sleep(0)
        for i in cancelled & set(range(len(futures))):
            futures[i].cancel()
        answers = await asyncio.gather(*futures, return_exceptions=True)
        for answer, (number, factor) in zip(answers, wanted, strict=True):
            if isinstance(answer, asyncio.CancelledError):
                continue
            if number < 0:
                assert isinstance(answer, ImageDecodeError)
            elif number == 666:
                assert isinstance(answer, InferenceError)
            else:
                assert value_of(answer) == (number, factor)
        await asyncio.sleep(0)
        assert batcher.waiting == 0

    in_loop(test, threads=threads, delay_s=delay_s)
    for model in models:
        assert all(len(batch) in bucket_sizes(max_batch_size) for batch in model.batches)
        assert not exclusive or model.most_at_once <= 1
