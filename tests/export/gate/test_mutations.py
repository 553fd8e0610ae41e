"""The mutation table: every planted fault is caught, by the check that the docs name."""

import json

import onnx
import pytest
from tests.conftest import REPO
from tests.export.conftest import exported
from tests.export.gate.mutations import EQUIVALENT, LITE0, MUTATIONS, REQUESTS, TRAINED, USUAL, Mutation, Subject, place

from torchless_export.convert.to_onnx import to_onnx

COMMITTED = {row["mutation"]: row for row in json.loads((REPO / "figures" / "mutations.json").read_text())["rows"]}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    return {}


def subject(subjects: dict[str, Subject], name: str, factory: pytest.TempPathFactory) -> Subject:
    if name not in subjects:
        artifact = exported(factory, name, REQUESTS[name].builder) if name == LITE0 else None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(REPO)
            subjects[name] = Subject(name, factory.mktemp(name), artifact)
    return subjects[name]


def cases(mutations: tuple[Mutation, ...]) -> list[object]:
    """Those on the network that the suite exports anyway are quick; the others export one of their own, and compute it
    in float64.
    """
    return [
        pytest.param(mutation, id=mutation.name, marks=() if mutation.model == LITE0 else pytest.mark.slow)
        for mutation in mutations
    ]


@pytest.mark.parametrize("mutation", cases(MUTATIONS))
def test_every_fault_is_caught(subjects, tmp_path_factory: pytest.TempPathFactory, mutation: Mutation) -> None:
    verdict = mutation.fault(subject(subjects, mutation.model, tmp_path_factory))
    assert set(verdict.failed) >= mutation.checks
    assert not verdict.passed
    assert place(verdict) == mutation.place
    committed = COMMITTED[mutation.name]
    assert (committed["caught_by"], committed["place"]) == (verdict.failed, mutation.place)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == LITE0 else pytest.mark.slow) for name in REQUESTS]
)
def test_without_a_fault_they_pass(subjects, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    assert subject(subjects, name, tmp_path_factory).check().failed == []


@pytest.mark.slow
def test_the_users_own_answers_pass(subjects, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert subject(subjects, USUAL, tmp_path_factory).trained().failed == []


@pytest.mark.parametrize("mutation", cases(EQUIVALENT))
def test_what_changes_nothing_passes(subjects, tmp_path_factory: pytest.TempPathFactory, mutation: Mutation) -> None:
    made = subject(subjects, mutation.model, tmp_path_factory)
    assert mutation.fault(made).failed == []
    assert COMMITTED[mutation.name]["caught_by"] == []


@pytest.mark.slow
def test_a_module_in_train_mode_is_exported_as_in_eval_mode(subjects, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The proof for the table: the same graph but for the names that the exporter makes up."""
    made = subject(subjects, "resnet18", tmp_path_factory)
    graphs = [without_names(to_onnx(made.loaded.module.train(mode), made.loaded.shape).graph) for mode in (True, False)]
    assert graphs[0] == graphs[1]


def without_names(graph: onnx.GraphProto) -> list[tuple]:
    """Each node's operator, attributes, and where its inputs come from: the bytes of a weight, or the number of the
    node that makes it.
    """
    sources: dict[str, object] = {
        weight.name: (weight.data_type, tuple(weight.dims), weight.raw_data) for weight in graph.initializer
    }
    sources |= {source.name: "input" for source in graph.input}
    nodes = []
    for number, node in enumerate(graph.node):
        attributes = sorted(attribute.SerializeToString() for attribute in node.attribute)
        nodes.append((node.op_type, attributes, [sources[name] for name in node.input]))
        sources |= {name: (number, place) for place, name in enumerate(node.output)}
    return nodes


@pytest.mark.slow
def test_flipping_ceil_mode_there_changes_no_shape(subjects, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The proof for the table: every pool gives the same shape either way, and so takes the same windows."""
    made = subject(subjects, "squeezenet1_1", tmp_path_factory)
    EQUIVALENT[0].fault(made)
    shapes = []
    for path in (made.path, made.faulty):
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
        kinds = {
            value.name: [d.dim_value for d in value.type.tensor_type.shape.dim[1:]] for value in model.graph.value_info
        }
        shapes.append([kinds[node.output[0]] for node in model.graph.node if node.op_type == "MaxPool"])
    assert shapes[0] == shapes[1] != []


def test_the_committed_table_has_all_of_them() -> None:
    assert list(COMMITTED) == [mutation.name for mutation in (*MUTATIONS, *EQUIVALENT)]
    assert len(MUTATIONS) >= 18
    assert len(TRAINED) >= 12
    assert all(COMMITTED[f"trained with {name}"]["caught_by"] == ["expected"] for name, *_ in TRAINED)
