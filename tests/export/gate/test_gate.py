"""What the gate says of files and networks: tests/export/gate/mutations.py plants the faults, this is about the
rest.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from torchless.engine.head import Head
from torchless.model.manifest import ImageRecord, Parity
from torchless.proof.answers import same_order
from torchless_export.errors import ParityError
from torchless_export.export import export_model, write_unproved
from torchless_export.gate import checks
from torchless_export.gate.checks import Verdict, check
from torchless_export.gate.departure import find_departure
from torchless_export.gate.evidence import Evidence, SetEvidence
from torchless_export.gate.limits import MAX_UNITS
from torchless_export.gate.metrics import kl_divergence, measure
from torchless_export.gate.oracle import Oracle
from torchless_export.gate.text import explain
from torchless_export.sources import images
from torchless_export.sources.load import LoadedModel, load
from torchless_export.sources.request import ModelRequest


@pytest.fixture
def loaded() -> LoadedModel:
    return load(ModelRequest(model="tiny", builder="tests.models:tiny"))


def caught_by(verdict: Verdict | Parity) -> set[str]:
    assert verdict.passed == all(check.passed for check in getattr(verdict, "parity", verdict).checks)
    return {check.name for check in getattr(verdict, "parity", verdict).checks if not check.passed}


def double_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(onnx.helper.make_node("Cast", ["raw"], ["logits"], to=onnx.TensorProto.DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def no_kernel(model: onnx.ModelProto) -> None:
    """Valid ONNX that ONNX Runtime cannot run on a CPU."""
    model.graph.node[-1].output[0] = "raw"
    cast = onnx.helper.make_node("Cast", ["raw"], ["half"], to=onnx.TensorProto.BFLOAT16)
    back = onnx.helper.make_node("Cast", ["erf"], ["logits"], to=onnx.TensorProto.FLOAT)
    model.graph.node.extend([cast, onnx.helper.make_node("Erf", ["half"], ["erf"]), back])


def drop_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "nowhere"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(double_output, {"structure"}, id="an output in double precision"),
        pytest.param(no_kernel, {"runs"}, id="an operator that the runtime has no kernel for"),
        pytest.param(drop_output, {"structure"}, id="an output that nothing computes"),
        pytest.param(
            lambda m: setattr(m.opset_import[0], "version", 22),
            {"structure"},
            id="an opset too new for the oldest runtime",
        ),
        pytest.param(
            lambda m: setattr(m, "ir_version", 11), {"structure"}, id="an IR version too new for the oldest runtime"
        ),
    ],
)
def test_a_file_that_cannot_be_used(
    loaded: LoadedModel, changed: Callable[..., Path], change: Callable, expected: set[str]
) -> None:
    verdict = check(loaded, changed(change))
    assert caught_by(verdict) == expected
    assert verdict.evidence is None


def test_the_untouched_file_passes(loaded: LoadedModel, tiny: Path) -> None:
    verdict = check(loaded, tiny)
    assert caught_by(verdict) == set()
    assert verdict.departure is None
    found = verdict.parity
    assert (found.images, found.rule, found.reason) == (16, "float64", None)
    assert 0 < found.max_abs_error < 1e-3
    assert [(row.images, row.batch_size) for row in found.metrics] == [
        (name, size) for name in ("random", "photos") for size in (1, 2, 3, 8)
    ]
    for row in found.metrics:
        assert 0 < row.p99_abs_error <= row.max_abs_error
        assert row.units == pytest.approx(row.max_abs_error / verdict.evidence.limits(row.images).unit)
        assert 0 < row.units < MAX_UNITS
        assert row.error_of_spread == pytest.approx(row.max_abs_error / found.spread)
        assert row.cosine == pytest.approx(1)
        assert 0 <= row.kl_divergence < 1e-6
        assert (row.top1_agreement, row.top5_overlap) == (1, 1)
    assert [image.set for image in found.judges] == ["random"] * 8 + ["photos"] * 8
    assert len({image.sha256 for image in found.judges}) == 16


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_no_false_alarm_for_any_seed(tmp_path: Path, seed: int) -> None:
    made = load(ModelRequest(model="tiny", builder="tests.models:tiny", weights="none", seed=seed))
    write_unproved(made, tmp_path / "tiny.onnx")
    assert check(made, tmp_path / "tiny.onnx").failed == []


def test_a_network_that_mixes_the_images_of_a_batch(tmp_path: Path) -> None:
    with pytest.raises(ParityError) as caught:
        export_model(ModelRequest(model="folded", builder="tests.models:folded"), output=tmp_path / "folded.onnx")
    assert caught_by(caught.value.parity) == {"reference"}


@pytest.mark.parametrize("builder", ["zero_head", "silent"])
def test_a_zero_head_is_vacuous(tmp_path: Path, builder: str) -> None:
    """PyTorch and ONNX Runtime agree on it perfectly, and it proves nothing."""
    with pytest.raises(ParityError) as caught:
        export_model(ModelRequest(model="zero", builder=f"tests.models:{builder}"), output=tmp_path / "zero.onnx")
    assert caught_by(caught.value.parity) == {"not_vacuous"}


class TestOracle:
    batch = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def test_answers_in_float64_and_knows_its_own_error(self, loaded: LoadedModel) -> None:
        oracle = Oracle(loaded.module, (3, 32, 32))
        answer = oracle.reference(self.batch)
        with torch.inference_mode():
            plain = loaded.module(self.batch).double().numpy()
            loaded.module.double()
            exact = loaded.module(self.batch.double()).numpy()
        assert (oracle.rule, oracle.reason) == ("float64", None)
        np.testing.assert_array_equal(answer.logits, exact)
        assert answer.own_error >= np.abs(plain - exact).max() > 0

    def test_leaves_the_module_in_float32(self, loaded: LoadedModel) -> None:
        Oracle(loaded.module, (3, 32, 32)).reference(self.batch)
        assert {parameter.dtype for parameter in loaded.module.parameters()} == {torch.float32}
        assert all(parameter.is_contiguous() for parameter in loaded.module.parameters())

    def test_a_module_that_was_left_in_train_mode_answers_as_in_eval_mode(self, loaded: LoadedModel) -> None:
        wanted = Oracle(loaded.module, (3, 32, 32)).reference(self.batch).logits
        np.testing.assert_array_equal(Oracle(loaded.module.train(), (3, 32, 32)).reference(self.batch).logits, wanted)

    def test_a_large_network_is_compared_by_the_spread(
        self, loaded: LoadedModel, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("torchless_export.gate.oracle.MAX_FLOAT64_PARAMETERS", 100)
        verdict = check(loaded, tiny)
        assert verdict.passed
        assert verdict.parity.rule == "spread"
        assert "too many for a float64 copy" in verdict.parity.reason
        assert {row.units for row in verdict.parity.metrics} == {None}
        limits = verdict.evidence.limits("photos")
        assert limits.absolute == pytest.approx(1e-6 + 5e-5 * verdict.evidence.spread)

    def test_so_is_one_that_does_not_run_in_float64(self) -> None:
        class Stubborn(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.flatten(1)[:, :5] @ torch.eye(5)

        oracle = Oracle(Stubborn(), (3, 32, 32))
        assert oracle.rule == "spread"
        assert oracle.reason.startswith("the network does not run in float64: ")
        assert oracle.reference(self.batch).own_error is None

    def test_so_is_one_that_leaves_float64_inside(self) -> None:
        class Rounding(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.float().flatten(1)[:, :5]

        assert Oracle(Rounding(), (3, 32, 32)).reason == "the network turns float64 into float32 inside"

    def test_one_that_cannot_run_in_channels_last_is_measured_otherwise(self) -> None:
        class Viewing(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return (
                    torch.nn.functional.conv2d(x, torch.ones(4, 3, 3, 3, dtype=x.dtype))
                    .view(x.shape[0] * 4, -1)
                    .sum(1)
                    .view(-1, 4)
                )

        oracle = Oracle(Viewing(), (3, 32, 32))
        assert oracle.rule == "float64"
        assert oracle.reference(self.batch).own_error > 0


def evidence(wanted: np.ndarray, got: np.ndarray, own_error: float | None = 1e-6) -> Evidence:
    records = tuple(ImageRecord(set="photos", name=str(number), sha256="") for number in range(len(wanted)))
    worst = images.TestImage(records[0], Image.new("RGB", (8, 8)))
    found = SetEvidence(records, (), worst, wanted, own_error, {1: got, 8: got})
    return Evidence("float64", None, {"photos": found})


LOGITS = np.random.default_rng(0).normal(size=(8, 10))
HEAD = Head(tuple("abcdefghij"), "softmax", 10)


def failed(found: Evidence) -> set[str]:
    return {check.name for check in checks._check_values(found, HEAD) if not check.passed}


def test_logits_that_hardly_move_are_vacuous() -> None:
    """Large ones, alike for every image but for less than 100 times what they may be off."""
    still = LOGITS[:1] + LOGITS * 1e-3
    assert failed(evidence(still, still, own_error=1e-6)) == set()
    assert failed(evidence(still, still, own_error=1e-5)) == {"not_vacuous"}


def test_the_users_images_do_not_move_the_limits() -> None:
    own = evidence(LOGITS, LOGITS).sets["photos"]
    wild = evidence(LOGITS * 1000, LOGITS * 1000).sets["photos"]
    alone, together = (Evidence("spread", None, sets) for sets in ({"photos": own}, {"photos": own, "yours": wild}))
    assert (alone.spread, alone.variation) == (together.spread, together.variation)


def test_another_number_of_classes_is_said_plainly(loaded: LoadedModel, changed: Callable[..., Path]) -> None:
    def halve(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "raw"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1, 2]), "three"))
        model.graph.node.append(onnx.helper.make_node("Gather", ["raw", "three"], ["logits"], axis=1))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"

    verdict = check(loaded, changed(halve))
    assert caught_by(verdict) == {"runs"}
    assert "the manifest has 5 labels, the graph 3 classes" in verdict.parity.checks[-1].detail


def test_nan_answers_fail_everywhere() -> None:
    poisoned = LOGITS.copy()
    poisoned[3, 3] = np.nan
    assert failed(evidence(LOGITS, poisoned)) >= {"logits_photos", "batching"}
    (row, _) = measure(evidence(LOGITS, poisoned))
    assert (row.max_abs_error, row.kl_divergence, row.p99_abs_error, row.cosine) == (np.inf, np.inf, np.inf, -1)


def test_the_limit_is_a_multiple_of_pytorchs_own_error() -> None:
    apart = np.zeros_like(LOGITS)
    apart[0, 0] = 1e-5
    assert failed(evidence(LOGITS, LOGITS + 0.99 * MAX_UNITS * 0.1 * apart, own_error=1e-6)) == set()
    assert failed(evidence(LOGITS, LOGITS + 1.01 * MAX_UNITS * 0.1 * apart, own_error=1e-6)) == {"logits_photos"}


def test_the_unit_is_never_finer_than_float32_itself() -> None:
    assert evidence(LOGITS, LOGITS, own_error=0.0).limits("photos").unit == pytest.approx(2**-23 * np.abs(LOGITS).max())


@given(
    logits=arrays.arrays(np.float64, (3, 6), elements=st.floats(-50, 50)),
    shift=st.floats(-50, 50),
    scale=st.floats(0.5, 2),
)
def test_kl_divergence(logits: np.ndarray, shift: float, scale: float) -> None:
    """0 where only a constant was added to the logits; never negative; and what the definition says."""
    assert kl_divergence(logits, logits + shift) == pytest.approx(0, abs=1e-12)
    other = logits * scale
    got = kl_divergence(logits, other)
    p, q = (np.exp(x - np.log(np.exp(x).sum(axis=1, keepdims=True))) for x in (logits, other))
    assert (got >= 0).all()
    assert got == pytest.approx((p * (np.log(p) - np.log(q))).sum(axis=1), abs=1e-9)


class TestDeparture:
    """What tests/export/gate/test_mutations.py does not reach."""

    def photo(self) -> images.TestImage:
        return images.photos()[0]

    @pytest.mark.parametrize(
        ("name", "exporter"),
        [
            ("mobilenet_v3_small", "dynamo"),
            ("mobilenet_v3_small", "torchscript"),
            ("swin_t", "dynamo"),
            ("shufflenet_v2_x0_5", "dynamo"),
        ],
    )
    @pytest.mark.slow
    def test_nothing_departs_in_a_right_file(self, tmp_path: Path, name: str, exporter: str) -> None:
        made = load(ModelRequest(model=name, weights="none"))
        write_unproved(made, tmp_path / "right.onnx", exporter=exporter)
        assert "no node departs" in str(find_departure(made, tmp_path / "right.onnx", self.photo()))

    def test_the_torchscript_exporters_nodes_are_traced_back_too(self, tmp_path: Path) -> None:
        made, path = load(ModelRequest(model="resnet18", weights="none")), tmp_path / "wrong.onnx"
        write_unproved(made, path, exporter="torchscript")
        model = onnx.load(path)
        node = next(node for node in model.graph.node if node.name == "/layer3/layer3.1/relu_1/Relu")
        node.op_type = "Sigmoid"
        path.write_bytes(model.SerializeToString())
        departure = find_departure(made, path, self.photo())
        assert (departure.node, departure.module, departure.module_type) == (node.name, "layer3.1.relu", "ReLU")

    def test_whatever_goes_wrong_the_verdict_stands(self, loaded: LoadedModel, tiny: Path) -> None:
        stubborn = replace(loaded, module=torch.nn.Sequential(loaded.module, torch.nn.Bilinear(2, 2, 2)))
        assert "where it broke: could not be looked for: " in str(find_departure(stubborn, tiny, self.photo()))
        assert "does not run in float64" in str(find_departure(loaded, tiny, self.photo(), float64=False))

    def test_on_a_gpu_the_cpu_tells_where_the_fault_is_not(self, loaded: LoadedModel, tiny: Path) -> None:
        assert "so what cuda:0 computes is at fault" in str(find_departure(loaded, tiny, self.photo(), device="cuda:0"))


class TestOrder:
    wanted = np.array([5.0, 4.0, 3.0, 2.999, 1.0, 0.0], np.float32)

    def test_the_same(self) -> None:
        assert same_order(self.wanted, self.wanted + 0.01, tie=0)

    def test_a_tie_may_change_places(self) -> None:
        got = self.wanted.copy()
        got[[2, 3]] = got[[3, 2]]
        assert same_order(self.wanted, got, tie=0.002)
        assert not same_order(self.wanted, got, tie=0.0005)

    def test_the_sixth_place_does_not_count(self) -> None:
        got = np.append(self.wanted[:5], np.float32(0.5))
        assert same_order(self.wanted, got, tie=0)


def test_the_table_names_figures_and_limits(loaded: LoadedModel, changed: Callable[..., Path]) -> None:
    def double_the_last(model: onnx.ModelProto) -> None:
        weight = [weight for weight in model.graph.initializer if len(weight.dims) == 2][-1]
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 2, weight.name))

    lines = explain(check(loaded, changed(double_the_last))).splitlines()
    row = next(line.split() for line in lines if line.split()[0] == "logits_photos")
    assert row[1] == "FAILED"
    assert float(row[2]) > float(row[4])


def test_a_bar_counts_the_images_of_both_sides(loaded: LoadedModel, tiny: Path) -> None:
    totals, done = [], []
    check(loaded, tiny, bars=lambda total: lambda _: totals.append(total()) or nullcontext(done.append))
    assert (totals, sum(done)) == ([16], 16)
    assert len(done) > 2  # it moves while a set is worked on
