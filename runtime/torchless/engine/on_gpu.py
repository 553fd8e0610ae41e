"""How a session on an NVIDIA GPU runs: through IO binding, and as CUDA graphs the sizes of batches that have one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from torchless.engine.binding import Binding, Ends, Images
from torchless.engine.graphs import OPTIONS, Graphs, difference, gate
from torchless.errors import first_line

Open = Callable[[Mapping[str, str]], Any]


class OnGpu:
    """Runs batches on `onnx`, a session on GPU number `gpu`; `open_with` opens the same file once more, with further
    options of the CUDA provider, or says why it cannot. Safe from any thread.
    """

    def __init__(self, ort: Any, onnx: Any, gpu: int | None, open_with: Open) -> None:
        self.onnx = onnx
        self._ort, self._gpu, self._open_with = ort, gpu, open_with
        self._runs: dict[tuple[str, str], Binding | Graphs] = {}

    def run(self, images: Images, input_name: str, output_name: str) -> NDArray[Any]:
        """The output (N, …) of images of one shape and dtype. Raises what ONNX Runtime raises."""
        runs = self._runs.get((input_name, output_name))
        if runs is None:
            runs = self._runs.setdefault(
                (input_name, output_name), Binding(self._ort, self.onnx, self._ends(input_name, output_name))
            )
        with gate.shared():
            return runs.run(images)

    def record(
        self, input_name: str, output_name: str, *, shape: tuple[int, ...], outputs: int, sizes: Sequence[int]
    ) -> str | None:
        """Runs batches of the `sizes` as CUDA graphs from now on, if their answers are those without; otherwise says
        why not. An image is float32 `shape`, its answer float32 (outputs,).

        The weights are on the GPU twice meanwhile.
        """
        names, ends = (input_name, output_name), self._ends(input_name, output_name)
        known = self._runs.get(names)
        try:
            if isinstance(known, Graphs):
                new = tuple(size for size in sizes if size not in known.sizes)
                known.record(new)
                return None
            onnx = self._open_with(OPTIONS)
            if isinstance(onnx, str):  # why it cannot be opened so
                return onnx
            graphs = Graphs(self._ort, onnx, ends, shape, outputs)
            graphs.record(sizes)
            found = difference(graphs, Binding(self._ort, self.onnx, ends), shape, sizes)
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            return first_line(error)
        if found is None:
            self.onnx, self._runs[names] = graphs.onnx, graphs
        return found

    def _ends(self, input_name: str, output_name: str) -> Ends:
        return Ends(input_name, output_name, self._gpu)
