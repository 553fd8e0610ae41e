"""What the nodes inside an ONNX graph compute: to find where a file departs from PyTorch, and what float16 could not
hold.
"""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless.engine.loading import import_onnxruntime

NodeValues = Callable[[NDArray[np.float32]], dict[str, NDArray[np.float32]]]


def node_values(model: onnx.ModelProto, input_name: str) -> NodeValues:
    """A function that runs a batch and returns the first output of every node, if it is a float32 tensor, by the
    output's name.

    On the CPU, in a session that all its calls share; `model` stays as it is.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {output.name for output in watched.graph.output} | {""}  # an output that is left out has no name
    watched.graph.output.extend(
        onnx.ValueInfoProto(name=node.output[0]) for node in model.graph.node if node.output[0] not in known
    )
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        found = zip(names, session.run(names, {input_name: batch}), strict=True)
        return {name: value for name, value in found if isinstance(value, np.ndarray) and value.dtype == np.float32}

    return run
