"""IO binding, on ONNX Runtime's provider for CPUs: all but the GPU itself is the same code."""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from torchless.engine import page_locked as locking
from torchless.engine.binding import Binding, Pool
from torchless.engine.classifier import Classifier
from torchless.engine.page_locked import page_locked
from torchless.errors import InferenceError

NAMES = "input", "logits"
SHAPE = 3, 32, 32


@pytest.fixture(scope="module")
def onnx(tiny: Path) -> Any:
    return onnxruntime.InferenceSession(tiny, providers=["CPUExecutionProvider"])


def noise(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, *SHAPE), dtype=np.float32)


def expected(onnx: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return onnx.run([NAMES[1]], {NAMES[0]: batch})[0]


def test_many_threads_get_the_answers_to_their_own_images(onnx: Any) -> None:
    binding = Binding(onnxruntime, onnx, None)
    batches = [noise(1 + number % 3, number) for number in range(24)]
    with ThreadPoolExecutor(4) as pool:
        given = [list(batch) if len(batch) == 2 else batch for batch in batches]
        found = list(pool.map(lambda images: binding.run(images, *NAMES), given))
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


class TestClassifier:
    @pytest.fixture
    def classifier(self, tiny: Path) -> Classifier:
        """On a GPU, as far as its own code can tell."""
        opened = Classifier(tiny, device="cpu")
        opened._session.binding = Binding(onnxruntime, opened._session.onnx, None)
        return opened

    def test_it_answers_as_on_the_cpu(self, classifier: Classifier, tiny: Path) -> None:
        images = [np.full((32, 32, 3), 20 * number, np.uint8) for number in range(9)]
        alone = Classifier(tiny, device="cpu")
        found = list(classifier.classify_many(images, batch_size=2, workers=1))
        assert [row.predictions[0].label for row in found] == [alone.classify(i).predictions[0].label for i in images]

    def test_a_batch_that_fails_says_which_file(self, classifier: Classifier, tiny: Path) -> None:
        with pytest.raises(InferenceError, match=f"ONNX Runtime failed to run {tiny}"):
            classifier.run(np.zeros((1, 4, 32, 32), np.float32))


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
