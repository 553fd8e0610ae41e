"""What happens to a float32 network before it becomes int8: channels of like size, ranges, rounded weights."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from torchless_export.gate.node_values import node_values
from torchless_export.reduce.equalise import equalise
from torchless_export.reduce.layers import constants, layers_of
from torchless_export.reduce.observe import extremes
from torchless_export.reduce.ranges import BINS, best_range
from torchless_export.reduce.rounding import Moments, round_layer

CHANCE = np.random.default_rng(0)


def network() -> onnx.ModelProto:
    """An addition, a concatenation, a depthwise convolution, ReLU6 and a shared ending: all that factors pass through,
    or must not.
    """
    shapes = {
        "a": (8, 3, 3, 3),
        "b": (8, 8, 1, 1),
        "c": (8, 8, 3, 3),
        "d": (16, 1, 3, 3),
        "e": (6, 8, 1, 1),
        "f": (5, 6),
    }
    values = {name: CHANCE.normal(0, 0.4, shape) * 3.0 ** CHANCE.uniform(-3, 1, (shape[0], *[1] * (len(shape) - 1)))
              for name, shape in shapes.items()}  # fmt: skip
    values |= {f"{name}_bias": CHANCE.normal(0, 0.2, shape[0]) for name, shape in shapes.items()}
    values |= {"zero": np.zeros(()), "six": np.full((), 6.0)}

    def conv(name: str, source: str, **given: object) -> onnx.NodeProto:
        return helper.make_node("Conv", [source, name, f"{name}_bias"], [f"{name}_out"], name=name, **given)

    nodes = [
        conv("a", "x", pads=[1] * 4, strides=[2, 1]),
        helper.make_node("Relu", ["a_out"], ["relu"]),
        conv("b", "relu"),
        helper.make_node("Add", ["a_out", "b_out"], ["sum"]),
        conv("c", "sum", pads=[0, 1, 2, 1]),
        helper.make_node("Concat", ["c_out", "b_out"], ["both"], axis=1),
        conv("d", "both", group=16, pads=[1] * 4),
        helper.make_node("Clip", ["d_out", "zero", "six"], ["clipped"]),
        conv("e", "clipped", group=2),
        helper.make_node("ReduceMean", ["e_out"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["mean", "f", "f_bias"], ["logits"], name="f", transB=1),
    ]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, ["n", 3, 9, 9])],
        [helper.make_tensor_value_info("logits", 1, ["n", 5])], tensors,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture
def batches() -> list[np.ndarray]:
    return list(np.random.default_rng(1).normal(0, 1, (6, 1, 3, 9, 9)).astype(np.float32))


def test_equalising_changes_sizes_and_no_answer(batches: list[np.ndarray]) -> None:
    model, unseen = network(), 20 * CHANCE.normal(0, 1, (4, 3, 9, 9)).astype(np.float32)
    before, peaks = node_values(model, "x")(unseen), extremes(model, batches, "x").peaks()
    equalise(model, peaks)
    after, levelled = node_values(model, "x")(unseen), extremes(model, batches, "x").peaks()
    for name in ("logits", "clipped"):  # after the Clip as before: no factor goes through it
        assert np.abs(after[name] - before[name]).max() < 1e-5 * np.abs(before[name]).max()
    for name in ("relu", "c_out"):
        assert np.ptp(np.log(levelled[name])) < 0.8 * np.ptp(np.log(peaks[name]))


def test_columns_times_weights_are_the_layers_outputs(batches: list[np.ndarray]) -> None:
    model = network()
    values, weights = node_values(model, "x")(batches[0]), constants(model)
    values["x"] = batches[0]
    for layer in layers_of(model):
        matrix = layer.matrix(weights[layer.weight])
        assert np.array_equal(layer.weights(matrix), weights[layer.weight])
        columns = layer.columns(values[layer.node.input[0]], 10_000, np.random.default_rng(0))
        got = (matrix @ columns).reshape(matrix.shape[0] * matrix.shape[1], -1) + weights[layer.bias][:, None]
        wanted = values[layer.node.output[0]][0].reshape(len(got), -1)
        assert np.allclose(np.sort(got, axis=1), np.sort(wanted, axis=1), atol=1e-4), layer.node.name


@pytest.mark.parametrize("levels", [127, 64])
def test_rounding_keeps_outputs_rather_than_weights(levels: int) -> None:
    """Neighbouring pixels are alike, and rarely zero on average."""
    shared = CHANCE.normal(3, 1, (2, 1, 500))
    columns = (shared + CHANCE.normal(0, 0.1, (2, 9, 500))).astype(np.float32)
    matrix = CHANCE.normal(0, 1, (2, 4, 9)).astype(np.float32)
    moments = Moments.empty(2, 9)
    moments.add(columns)
    rounded, shift = round_layer(matrix, moments, levels=levels, has_bias=True)
    scale = np.abs(matrix).max(axis=2, keepdims=True) / levels
    assert np.allclose(rounded / scale, np.round(rounded / scale), atol=1e-3)
    assert np.allclose(
        np.abs(rounded).max(axis=2), np.abs(matrix).max(axis=2)
    )  # or another scale would be read from it
    plain = np.round(matrix / scale) * scale
    error = (rounded - matrix) @ columns + shift.reshape(2, 4, 1)
    assert np.abs(error.mean(axis=2)).max() < 1e-4  # the bias takes the mean
    assert error.std() < 0.5 * ((plain - matrix) @ columns).std()


def test_a_layer_with_too_many_inputs_is_rounded_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless_export.reduce.rounding.MOST_INPUTS", 8)
    moments, matrix = Moments.empty(1, 9), CHANCE.normal(0, 1, (1, 4, 9)).astype(np.float32)
    moments.add(CHANCE.normal(0, 1, (1, 9, 50)).astype(np.float32))
    rounded, _ = round_layer(matrix, moments, levels=127, has_bias=True)
    scale = np.abs(matrix).max(axis=2, keepdims=True) / 127
    assert np.allclose(rounded, np.round(matrix / scale) * scale)


def test_a_range_leaves_out_what_is_rare_and_holds_zero() -> None:
    values = np.random.default_rng(0).normal(0, 1, 20_000)
    counts = 100 * np.histogram(values, bins=BINS, range=(-5, 40))[0]
    counts[-1] = 1
    low, high = best_range(-5.0, 40.0, counts)
    assert (-5 <= low < -2.5, 2.5 < high < 20) == (True, True)
    even = np.full(BINS, 100)
    assert best_range(2.0, 6.0, even) == (0, 6)
    assert best_range(0.0, 0.0, np.zeros(BINS, np.int64)) == (0, 0)
