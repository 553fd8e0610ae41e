"""CUDA graphs: a forward pass that was recorded once for each size of a batch, and is started as a whole.

A small batch spends more time on starting hundreds of kernels than on computing. What ONNX Runtime demands of it (its
documentation of the CUDA provider, "Using CUDA Graphs", and its source): the whole graph on CUDA, no control flow, and
for each `gpu_graph_id` the same shapes at the same addresses. Graphs belong to the thread that recorded them, so all of
a session's passes run in one thread of its own. While one is recorded, no other thread may allocate on the GPU, so the
passes of all other sessions here wait (`gate`).
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.engine.binding import NO_GRAPH, Binding, Ends, Images, Pool, run_options

OPTIONS = {"enable_cuda_graph": "1"}  # of the CUDA provider
_LARGEST_DIFFERENCE = 1e-3  # of the outputs' spread; the same kernels with the same numbers give the same answers
_TRIALS = 2  # the first records, the second only replays


class _Gate:
    """Many may pass at once, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._changed:
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:  # held to the end: nobody else comes in
            self._changed.wait_for(lambda: not self._inside)
            yield


gate = _Gate()


class Graphs:
    """Runs batches on `onnx`, a session that was opened with OPTIONS: those of the `sizes` as graphs, others as
    Binding does.
    """

    def __init__(self, ort: Any, onnx: Any, ends: Ends, shape: tuple[int, ...], outputs: int) -> None:
        """`shape` is that of an image as the model takes it, float32; `outputs` the length of its answer."""
        self.onnx, self._ort, self._ends, self._shape, self._outputs = onnx, ort, ends, shape, outputs
        self._pool = Pool(ends.gpu)
        self._plain = Binding(ort, onnx, ends, pool=self._pool, graph_id=NO_GRAPH)
        self._recorded: dict[int, _Recorded] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="torchless-graphs")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of the batches that have a graph."""
        return tuple(self._recorded)

    def record(self, sizes: Sequence[int]) -> None:
        """Records a graph for each size that has none. Raises what ONNX Runtime raises."""
        for size in sizes:
            if size not in self._recorded:
                with gate.alone():
                    self._recorded[size] = self._thread.submit(self._record, size).result()

    def _record(self, size: int) -> "_Recorded":
        new = _Recorded(self._ort, self.onnx, self._ends, (size, *self._shape), self._outputs, str(size))
        new.run(np.zeros((size, *self._shape), np.float32))
        return new

    def run(self, images: Images) -> NDArray[Any]:
        """The output, float32 (N, outputs). Raises what ONNX Runtime raises."""
        with self._pool.filled(images) as batch:
            one = self._recorded.get(len(batch))
            run = self._plain.run_on if one is None or batch.shape[1:] != self._shape else one.run
            return self._thread.submit(run, batch).result()


class _Recorded:
    """One graph: buffers on the device that stay where they are, and the id under which ONNX Runtime finds it."""

    def __init__(self, ort: Any, onnx: Any, ends: Ends, shape: tuple[int, ...], outputs: int, graph_id: str) -> None:
        place = ("cpu", 0) if ends.gpu is None else ("cuda", ends.gpu)
        new = ort.OrtValue.ortvalue_from_shape_and_type
        self._given, self._answer = new(shape, np.float32, *place), new((shape[0], outputs), np.float32, *place)
        self._onnx, self._binding, self._options = onnx, onnx.io_binding(), run_options(ort, graph_id)
        self._binding.bind_ortvalue_input(ends.input, self._given)
        self._binding.bind_ortvalue_output(ends.output, self._answer)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self._given.update_inplace(batch)
        self._onnx.run_with_iobinding(self._binding, self._options)
        return np.array(self._answer.numpy())  # numpy() of a CPU value may show its memory, which changes


def difference(graphs: Graphs, plain: Binding, shape: tuple[int, ...], sizes: Sequence[int]) -> str | None:
    """How the answers of graphs differ from those without, on noise; None where they are the same."""
    chance = np.random.default_rng(0)
    for size in sizes:
        for _ in range(_TRIALS):
            batch = chance.standard_normal((size, *shape), dtype=np.float32)
            with gate.shared():
                expected, found = plain.run(batch), graphs.run(batch)
            furthest, spread = float(np.abs(found - expected).max()), float(np.ptp(expected))
            if not furthest <= _LARGEST_DIFFERENCE * spread:
                return f"batches of {size} differ by up to {furthest:.3g}, where the outputs span {spread:.3g}"
    return None
