"""Changed manifests and ONNX files: broken ones, and well-formed ones that mean harm."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper
from tests.fuzz.mutate import mutated, mutated_json

from torchless.model.manifest import Manifest
from torchless.model.seal import SEAL_KEY

Change = Callable[[Random, onnx.ModelProto], None]

# None of them is beside the model as a plain file: outside of its folder, not there, or a link (targets.OnnxTarget
# makes it).
FOREIGN_DATA = (
    "../secret.bin",
    "/etc/passwd",
    "sub/../../secret.bin",
    "link.bin",
    "folder",
    "",
    ".",
    "..",
    "not-there.bin",
    "a\0b",
    "é" * 300,
)
_EDGES = (0, 1, -1, 2, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))


def mutated_manifest(random: Random, model: bytes) -> bytes:
    """The JSON of the model's manifest, changed."""
    return mutated_json(random, json.loads(_manifest(onnx.load_from_string(model)).value))


def mutated_model(random: Random, model: bytes) -> bytes:
    """An ONNX file: changed as bytes, as a graph, or both."""
    if random.random() < 0.3:
        return mutated(random, model)
    proto = onnx.load_from_string(model)
    if random.random() < 0.5:  # whoever means harm leaves the seal out
        del proto.metadata_props[[entry.key for entry in proto.metadata_props].index(SEAL_KEY)]
    for _ in range(random.randint(1, 3)):
        random.choice(_CHANGES)(random, proto)
    data = proto.SerializeToString()
    return mutated(random, data, most=1) if random.random() < 0.1 else data


def with_manifest(model: bytes, text: bytes) -> bytes:
    """The model file with `text` for a manifest, which may be anything."""
    proto = onnx.load_from_string(model)
    entry = _manifest(proto)
    proto.metadata_props.remove(entry)
    key = Manifest.KEY.encode()
    pair = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(text)) + text
    return (
        proto.SerializeToString() + b"\x72" + _varint(len(pair)) + pair
    )  # protobuf's own classes take no text that is not UTF-8


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _manifest(proto: onnx.ModelProto) -> onnx.StringStringEntryProto:
    return next(entry for entry in proto.metadata_props if entry.key == Manifest.KEY)


def _cycle(random: Random, model: onnx.ModelProto) -> None:
    early, late = sorted(random.choices(range(len(model.graph.node)), k=2))
    if model.graph.node[early].input and model.graph.node[late].output:
        model.graph.node[early].input[0] = model.graph.node[late].output[0]


def _unknown_operator(random: Random, model: onnx.ModelProto) -> None:
    node = random.choice(model.graph.node)
    node.op_type = random.choice(("Nonsense", "", "x" * 10_000, "Loop", "If", "Scan", "Conv\0", node.op_type))
    node.domain = random.choice(("", "nowhere", "ai.onnx.ml", "com.microsoft", "\U0001f600"))


def _shapes_of_weights(random: Random, model: onnx.ModelProto) -> None:
    weight = random.choice(model.graph.initializer)
    match random.randrange(5):
        case 0:
            weight.dims[:] = [random.choice(_EDGES) for _ in range(random.choice((0, 1, 2, 4, 100)))]
        case 1:
            weight.data_type = random.randrange(30)
        case 2:
            weight.raw_data = mutated(random, weight.raw_data or b"\0")
        case 3:
            weight.float_data.extend([1.0] * random.choice((1, 1000)))
        case _:
            weight.ClearField("raw_data")


def _external_data(random: Random, model: onnx.ModelProto) -> None:
    weight = random.choice(model.graph.initializer)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entries = {"location": random.choice((*FOREIGN_DATA, "beside.bin", "beside.bin"))}
    if random.random() < 0.5:
        entries["offset"] = str(random.choice((*_EDGES, "x", "")))
        entries["length"] = str(random.choice((*_EDGES, "x", "")))
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)


def _attributes(random: Random, model: onnx.ModelProto) -> None:
    node = random.choice([node for node in model.graph.node if node.attribute] or list(model.graph.node))
    for attribute in node.attribute:
        if random.random() < 0.5:
            attribute.ints[:] = [random.choice(_EDGES) for _ in attribute.ints]
            attribute.i = random.choice(_EDGES)
            attribute.type = random.choice((attribute.type, attribute.type, random.randrange(15)))
    if random.random() < 0.3:
        node.attribute.append(
            helper.make_attribute(random.choice(("group", "axis", "pads", "new")), random.choice(_EDGES))
        )


def _wiring(random: Random, model: onnx.ModelProto) -> None:
    graph = model.graph
    part = random.choice(
        [part for part in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info) if part]
    )
    item = random.choice(part)
    match random.randrange(4):
        case 0:
            part.remove(item)
        case 1:
            part.append(item)
        case 2:
            item.name = random.choice(("", "input", "logits", "a/b", "\0", "x" * 10_000))
        case _:
            node = random.choice(graph.node)
            for names in (node.input, node.output):
                names[:] = [random.choice((name, "", "nowhere")) for name in names]


def _types(random: Random, model: onnx.ModelProto) -> None:
    ends = [*model.graph.input, *model.graph.output]
    tensor = random.choice(ends).type.tensor_type if ends else None
    if tensor is None:
        return
    if random.random() < 0.5:
        tensor.elem_type = random.randrange(30)
    for dimension in tensor.shape.dim:
        if random.random() < 0.5:
            dimension.dim_value = random.choice(_EDGES)
    if random.random() < 0.2:
        tensor.ClearField("shape")


def _versions(random: Random, model: onnx.ModelProto) -> None:
    model.ir_version = random.choice((0, 1, 3, 999, -1, 2**62))
    for opset in model.opset_import:
        opset.version = random.choice((opset.version, 0, 1, 999, -1, 2**62))
    if random.random() < 0.2:
        model.opset_import.add(domain=random.choice(("", "x")), version=random.choice(_EDGES))


def _giant(random: Random, model: onnx.ModelProto) -> None:
    """A few bytes that ask for more memory than there is."""
    shape = [random.choice((2**16, 2**20, 2**31, 2**40, 2**62)) for _ in range(random.randint(1, 4))]
    graph = model.graph
    graph.initializer.append(helper.make_tensor("giant_shape", TensorProto.INT64, [len(shape)], shape))
    kind = random.choice(("ConstantOfShape", "Expand", "Tile", "Reshape"))
    source = graph.node[0].input[0] if graph.node and graph.node[0].input else "input"
    graph.node.insert(
        0,
        helper.make_node(
            kind, ["giant_shape"] if kind == "ConstantOfShape" else [source, "giant_shape"], ["giant"], name="giant"
        ),
    )
    if random.random() < 0.5 and len(graph.node) > 1 and graph.node[1].input:
        graph.node[1].input[0] = "giant"


def _nested(random: Random, model: onnx.ModelProto) -> None:
    """Graphs in graphs, and functions that call themselves."""
    if random.random() < 0.5:
        body = helper.make_graph([], "leaf", [], [])
        for _ in range(random.choice((1, 10, 20))):  # protobuf itself takes no more than 100 messages in each other
            node = helper.make_node(
                "If", ["condition"], ["x"], then_branch=body, else_branch=helper.make_graph([], "leaf", [], [])
            )
            body = helper.make_graph([node], "branch", [], [])
        model.graph.node.extend(body.node)
        return
    names = ["F"] if random.random() < 0.5 else ["F", "G"]
    for name, called in zip(names, names[1:] + names[:1], strict=True):
        call = helper.make_node(called, ["a"], ["b"], domain="local")
        model.functions.append(
            helper.make_function("local", name, ["a"], ["b"], [call], [helper.make_opsetid("local", 1)])
        )
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node.insert(0, helper.make_node("F", ["input"], ["called"], domain="local"))


def _metadata(random: Random, model: onnx.ModelProto) -> None:
    entry = random.choice(model.metadata_props)
    entry.value = random.choice(
        ("", "[" * 100_000, "{}", "null", "\0", entry.value[: len(entry.value) // 2], entry.value * 2)
    )
    if random.random() < 0.3:
        model.metadata_props.append(entry)
    model.producer_name = random.choice(("", "x" * 100_000, "\x1b[2J"))


_CHANGES: tuple[Change, ...] = (
    _cycle, _unknown_operator, _shapes_of_weights, _shapes_of_weights, _external_data, _external_data, _attributes,
    _attributes, _wiring, _wiring, _types, _versions, _giant, _nested, _metadata,
)  # fmt: skip


def surroundings(folder: Path) -> None:
    """What the external data of FOREIGN_DATA leads to from the folder of the model: FOLDER/model."""
    home = folder / "model"
    (home / "folder").mkdir(parents=True, exist_ok=True)
    (home / "sub").mkdir(exist_ok=True)
    (folder / "secret.bin").write_bytes(bytes(100_000))
    (home / "beside.bin").write_bytes(bytes(100_000))
    if not (home / "link.bin").is_symlink():
        (home / "link.bin").symlink_to("../secret.bin")


def foreign_data(data: bytes) -> list[str]:
    """Where else than beside the model the weights of an ONNX file are."""
    try:
        tensors = [*onnx.load_from_string(data).graph.initializer]
    except DecodeError:  # ONNX Runtime's protobuf takes a little more than Python's
        return []
    places = [
        entry.value
        for tensor in tensors
        if tensor.data_location == TensorProto.EXTERNAL
        for entry in tensor.external_data
    ]
    return [place for place in places if place in FOREIGN_DATA]
