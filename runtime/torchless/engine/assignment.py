"""Where ONNX Runtime put each node. A session that was made for a device may still compute on the CPU."""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from torchless.model.dataflow import dataflow
from torchless.model.onnxfile import OnnxFile
from torchless.records import dataclass

_RECORD = "session.record_ep_graph_assignment_info"
_CPU = "CPUExecutionProvider"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_UNKNOWN_SIDE = 256  # of an image, where the graph takes any size

Node = tuple[str, str, str]  # its provider, name and operator


@dataclass(frozen=True)
class Assignment:
    """`on_device` and `on_cpu` count nodes, fused ones as one. `fallen` are the operators of those on the CPU that
    compute on the image: the rest there is arithmetic on shapes, which belongs there.
    """

    on_device: int
    on_cpu: int
    fallen: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.on_device + self.on_cpu

    def __str__(self) -> str:
        """Such as "all 94 nodes" or "409 of 412 nodes; the CPU computes the rest (1 of them on the image: Cast)"."""
        if not self.on_cpu:
            return f"all {self.total} nodes"
        if not self.fallen:
            return f"{self.on_device} of {self.total} nodes, the CPU those for shapes alone"
        names = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in self._counted())
        return (
            f"{self.on_device} of {self.total} nodes; the CPU computes the rest ({len(self.fallen)} of them on the "
            f"image: {names})"
        )

    def _counted(self) -> list[tuple[str, int]]:
        counted = Counter(self.fallen).most_common()
        return counted[:5] + ([("others", sum(count for _, count in counted[5:]))] if counted[5:] else [])


class Recorder:
    """Has a session that is about to be made record where its nodes run: in ONNX Runtime before 1.24 by its profiler,
    which needs a run.
    """

    def __init__(self, ort: Any) -> None:
        self._profiled = not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info")
        self._folder = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.close()

    def prepare(self, options: Any) -> None:
        if self._profiled:
            folder = self._folder.enter_context(TemporaryDirectory())
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, "nodes"))
        else:
            options.add_session_config_entry(_RECORD, "1")

    def assignment(self, onnx: Any, file: OnnxFile) -> Assignment:
        """Where the nodes of the session run."""
        return _assignment(_profiled(onnx) if self._profiled else _recorded(onnx), file)


def _recorded(onnx: Any) -> list[Node]:
    return [
        (graph.ep_name, node.name, node.op_type)
        for graph in onnx.get_provider_graph_assignment_info()
        for node in graph.get_nodes()
    ]


def _profiled(onnx: Any) -> list[Node]:
    """From a run on zeros, which ends the profile."""
    try:
        onnx.run(None, {each.name: _zeros(each) for each in onnx.get_inputs()})
    finally:
        events = json.loads(Path(onnx.end_profiling()).read_text())
    found = [event for event in events if event.get("args", {}).get("provider")]
    return list(dict.fromkeys((event["args"]["provider"], _name(event), event["args"]["op_name"]) for event in found))


def _name(event: dict[str, Any]) -> str:
    return str(event["name"]).removesuffix("_kernel_time")


def _assignment(nodes: list[Node], file: OnnxFile) -> Assignment:
    on_cpu = [(name, operator) for provider, name, operator in nodes if provider == _CPU]
    fallen: list[str] = []
    if on_cpu:
        flow = dataflow(file)
        fallen = [operator for name, operator in on_cpu if flow.is_on_image(name, operator)]
    return Assignment(len(nodes) - len(on_cpu), len(on_cpu), tuple(fallen))


def _zeros(each: Any) -> Any:
    """(1, …) of its type; the graph may leave an image's sides open."""
    sides = each.shape
    first = [1] if len(sides) == 4 and not isinstance(sides[0], int) else []
    shape = first + [side if isinstance(side, int) else _UNKNOWN_SIDE for side in sides[len(first) :]]
    return np.zeros(shape, _TYPES.get(each.type, np.float32))
