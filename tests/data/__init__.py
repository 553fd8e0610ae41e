"""Small models that the runtime's tests read, so that they need neither torch nor onnx. `python -m tests.data` makes
them again.

tiny.onnx         what `tests.models:tiny` exports as
pair/             the same with its weights in tiny.onnx.data
pixels.onnx       the same with its preprocessing in the graph
onnx.descriptor   ONNX's protobuf schema, as the onnx package holds it: tests/onnx_model.py makes messages of it
"""

from pathlib import Path

DATA = Path(__file__).parent
LABELS = ("zero", "one", "two", "three", "four")
