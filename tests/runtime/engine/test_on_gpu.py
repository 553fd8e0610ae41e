"""IO binding and CUDA graphs, on ONNX Runtime's provider for CPUs: all but the GPU itself is the same code."""

import ctypes
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from torchless.engine import page_locked as locking
from torchless.engine.binding import Binding, Ends, Pool
from torchless.engine.classifier import Classifier
from torchless.engine.graphs import OPTIONS, _Recorded, gate
from torchless.engine.on_gpu import OnGpu
from torchless.engine.page_locked import page_locked
from torchless.errors import InferenceError

NAMES = "input", "logits"
SHAPE, OUTPUTS = (3, 32, 32), 5


@pytest.fixture(scope="module")
def onnx(tiny: Path) -> Any:
    return onnxruntime.InferenceSession(tiny, providers=["CPUExecutionProvider"])


def noise(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), dtype=np.float32)


def expected(onnx: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return onnx.run([NAMES[1]], {NAMES[0]: batch})[0]


def opened_like(tiny: Path, asked: list[Mapping[str, str]]) -> Any:
    def open_with(options: Mapping[str, str]) -> Any:
        asked.append(options)
        return onnxruntime.InferenceSession(tiny, providers=["CPUExecutionProvider"])

    return open_with


def record(on_gpu: OnGpu, sizes: list[int]) -> str | None:
    return on_gpu.record(*NAMES, shape=SHAPE, outputs=OUTPUTS, sizes=sizes)


def test_many_threads_get_the_answers_to_their_own_images(onnx: Any) -> None:
    binding = Binding(onnxruntime, onnx, Ends(*NAMES, None))
    batches = [noise(1 + number % 3, number) for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(binding.run, [list(batch) if len(batch) == 2 else batch for batch in batches]))
    for batch, answer in zip(batches, found, strict=True):
        np.testing.assert_allclose(answer, expected(onnx, batch), rtol=1e-4, atol=1e-6)


def test_buffers_of_a_size_are_used_again_and_those_of_old_sizes_dropped() -> None:
    pool = Pool(None)
    with pool.filled(noise(2)) as first, pool.filled(noise(2)) as second:
        assert first is not second
    with pool.filled(noise(2, 1)) as again:
        assert again is first or again is second
        np.testing.assert_array_equal(again, noise(2, 1))
    with pool.filled(noise(2)) as third, pool.filled(noise(2)) as fourth:
        assert third is not fourth
    for count in range(3, 12):
        with pool.filled(noise(count)):
            pass
    assert len(pool._free) == 8
    with pytest.raises(TypeError), pool.filled([noise(1)[0], noise(1)[0].astype(np.complex64)]):
        pass


def test_recorded_sizes_and_others_give_the_answers_of_before(tiny: Path, onnx: Any) -> None:
    asked: list[Mapping[str, str]] = []
    on_gpu = OnGpu(onnxruntime, onnx, None, opened_like(tiny, asked))
    assert record(on_gpu, [1, 4]) is None
    assert asked == [OPTIONS]
    assert on_gpu.onnx is not onnx
    assert record(on_gpu, [4, 2]) is None  # the session is there
    assert len(asked) == 1
    assert on_gpu._runs[NAMES].sizes == (1, 4, 2)
    kept = [on_gpu.run(noise(count, seed), *NAMES) for seed in range(3) for count in (1, 2, 3, 4)]
    for answer, (seed, count) in zip(kept, [(s, c) for s in range(3) for c in (1, 2, 3, 4)], strict=True):
        np.testing.assert_allclose(answer, expected(onnx, noise(count, seed)), rtol=1e-4, atol=1e-6)


def test_graphs_run_in_a_thread_of_their_own_each_under_its_number(
    tiny: Path, onnx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other threads would record again; a number of another shape would replay the wrong graph."""
    seen: set[tuple[str, str]] = set()

    class Watched:
        def __init__(self, inner: Any) -> None:
            self.inner, self.io_binding = inner, inner.io_binding

        def run_with_iobinding(self, binding: Any, options: Any) -> None:
            seen.add((threading.current_thread().name, options.get_run_config_entry("gpu_graph_id")))
            self.inner.run_with_iobinding(binding, options)

    on_gpu = OnGpu(onnxruntime, onnx, None, lambda _: Watched(onnx))
    assert record(on_gpu, [1, 4]) is None
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda count: on_gpu.run(noise(count), *NAMES), [1, 4, 3, 1, 4, 3]))
    assert seen == {("torchless-graphs_0", number) for number in ("1", "4", "-1")}


class Stale(_Recorded):
    """Replays the answer to the first batch."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.first = getattr(self, "first", batch.copy())
        return super().run(self.first)


def test_graphs_that_answer_otherwise_are_not_used(tiny: Path, onnx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless.engine.graphs._Recorded", Stale)
    on_gpu = OnGpu(onnxruntime, onnx, None, opened_like(tiny, []))
    assert "batches of 2 differ by up to " in str(record(on_gpu, [2]))
    assert on_gpu.onnx is onnx
    np.testing.assert_allclose(on_gpu.run(noise(2), *NAMES), expected(onnx, noise(2)), rtol=1e-4, atol=1e-6)


def test_a_session_that_takes_no_graphs_goes_on_without(tiny: Path, onnx: Any) -> None:
    def fails(_: object) -> Any:
        raise RuntimeError("This session cannot use the graph capture feature\nas requested")

    assert record(OnGpu(onnxruntime, onnx, None, lambda _: "the GPU is full"), [1]) == "the GPU is full"
    assert str(record(OnGpu(onnxruntime, onnx, None, fails), [1])).startswith("This session cannot use")


def test_nothing_else_runs_while_a_graph_is_recorded() -> None:
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def run() -> None:
        with gate.shared():
            inside.set()
            leave.wait(30)
            order.append("ran")

    def recorded() -> None:
        with gate.alone():
            order.append("recorded")

    threads = [threading.Thread(target=run), threading.Thread(target=recorded)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert order == ["ran", "recorded"]


class TestClassifier:
    @pytest.fixture
    def classifier(self, tiny: Path) -> Classifier:
        """On a GPU, as far as its own code can tell."""
        opened = Classifier(tiny, device="cpu")
        opened._session.on_gpu = OnGpu(onnxruntime, opened._session.onnx, None, opened_like(tiny, []))
        return opened

    def test_many_small_batches_become_graphs(
        self, classifier: Classifier, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torchless.engine.classifier._MANY_BATCHES", 3)
        images = [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(9)]
        found = list(classifier.classify_many(images, batch_size=2, workers=1))
        assert classifier._session.on_gpu._runs[NAMES].sizes == (2,)
        alone = Classifier(tiny, device="cpu")
        assert [row.predictions[0].label for row in found] == [alone.classify(i).predictions[0].label for i in images]

    def test_a_warning_says_why_they_do_not(self, classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torchless.engine.classifier._MANY_BATCHES", 0)
        classifier._session.on_gpu._open_with = lambda _: "the GPU is full"
        with pytest.warns(RuntimeWarning, match="runs without CUDA graphs: the GPU is full"):
            assert len(list(classifier.classify_many([np.zeros((32, 32, 3), np.uint8)], workers=1))) == 1

    def test_a_batch_that_fails_says_which_file(self, classifier: Classifier, tiny: Path) -> None:
        with pytest.raises(InferenceError, match=f"ONNX Runtime failed to run {tiny}"):
            classifier.run(np.zeros((1, 4, 32, 32), np.float32))

    def test_without_a_gpu_there_is_nothing_to_do(self, tiny: Path) -> None:
        assert Classifier(tiny, device="cpu").use_cuda_graphs([1, 2]) is None


class Driver:
    """NVIDIA's driver; `refuses` is the one call that fails."""

    def __init__(self, refuses: str = "") -> None:
        self.locked: dict[int, int] = {}
        self.contexts = 0
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        return lambda *_: int(name == self._refuses)

    def cuCtxPushCurrent_v2(self, _: object) -> int:
        self.contexts += 1
        return 0

    def cuCtxPopCurrent_v2(self, _: object) -> int:
        self.contexts -= 1
        return 0

    def cuMemHostRegister_v2(self, address: ctypes.c_void_p, size: int, flags: int) -> int:
        assert (self.contexts, flags) == (1, 1)
        self.locked[address.value] = size
        return int(self._refuses == "cuMemHostRegister_v2")

    def cuMemHostUnregister(self, address: ctypes.c_void_p) -> int:
        ctypes.string_at(address.value, self.locked.pop(address.value))  # the memory is still there
        return 0


@pytest.mark.parametrize("refuses", ["", "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuMemHostRegister_v2"])
def test_memory_is_locked_for_as_long_as_it_is_used(monkeypatch: pytest.MonkeyPatch, refuses: str) -> None:
    driver = Driver(refuses)
    monkeypatch.setattr(
        locking,
        "ctypes",
        SimpleNamespace(CDLL=lambda _: driver, c_void_p=ctypes.c_void_p, c_int=ctypes.c_int, byref=ctypes.byref),
    )
    array = page_locked((2, 3), np.float32, 0)
    assert array.shape == (2, 3)
    assert (array == 0).all()
    array[:] = 7
    view = array[1:]
    assert (list(driver.locked.values()) == [24]) == (refuses in ("", "cuMemHostRegister_v2"))
    del array
    assert (view == 7).all()
    assert driver.locked or refuses
    del view
    assert not driver.locked or refuses
    assert driver.contexts == 0


def test_without_a_driver_memory_is_ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> Any:
        raise OSError

    monkeypatch.setattr(locking.ctypes, "CDLL", missing)
    assert page_locked((2,), np.uint8, 0).tolist() == [0, 0]
    assert page_locked((2,), np.uint8, None).tolist() == [0, 0]
