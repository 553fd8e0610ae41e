"""Forward passes through ONNX Runtime's IO binding: images are copied once, into memory that a GPU reads directly.

`Binding` lets ONNX Runtime move the batch to the device and back. Threads may call it at once: each takes buffers of
its own, so one batch is copied while another is computed.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.engine.page_locked import page_locked

Images = Sequence[NDArray[Any]] | NDArray[Any]
_KINDS_KEPT = 8  # sizes of batches whose buffers stay


class Pool:
    """Page-locked arrays for batches, lent to one caller at a time; those of the sizes used last are kept."""

    def __init__(self, gpu: int | None) -> None:
        self._gpu = gpu
        self._lock = threading.Lock()
        self._free: OrderedDict[tuple[Any, ...], list[NDArray[Any]]] = OrderedDict()

    @contextmanager
    def filled(self, images: Images) -> Iterator[NDArray[Any]]:
        """An array (N, …) with these images, which all have one shape and dtype."""
        first = np.asarray(images[0])
        kind = (len(images), *first.shape), first.dtype
        array = self._take(kind)
        try:
            for place, image in zip(array, images, strict=True):
                np.copyto(place, image, casting="no")
            yield array
        finally:
            self._give_back(kind, array)

    def _take(self, kind: tuple[Any, ...]) -> NDArray[Any]:
        with self._lock:
            free = self._free.get(kind)
            if free:
                return free.pop()
        shape, dtype = kind
        return page_locked(shape, dtype, self._gpu)

    def _give_back(self, kind: tuple[Any, ...], array: NDArray[Any]) -> None:
        with self._lock:
            self._free.setdefault(kind, []).append(array)
            self._free.move_to_end(kind)
            while len(self._free) > _KINDS_KEPT:
                self._free.popitem(last=False)


class Binding:
    """Runs batches of any size on `onnx`, a session of ONNX Runtime on the GPU of that number, or on the CPU without
    one.
    """

    def __init__(self, ort: Any, onnx: Any, gpu: int | None) -> None:
        self._ort, self._onnx, self._pool = ort, onnx, Pool(gpu)

    def run(self, images: Images, input_name: str, output_name: str) -> NDArray[Any]:
        """The output, (N, …), of images that all have one shape and dtype. Raises what ONNX Runtime raises."""
        with self._pool.filled(images) as batch:
            binding = self._onnx.io_binding()
            binding.bind_ortvalue_input(input_name, self._ort.OrtValue.ortvalue_from_numpy(batch))
            binding.bind_output(output_name)  # in main memory: ONNX Runtime allocates what the shape needs
            self._onnx.run_with_iobinding(binding)
            answer: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
            return answer
