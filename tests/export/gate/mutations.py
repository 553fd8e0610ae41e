"""Faults, each done to a passing artifact or to the code that made it, with the check that must catch it: `make
mutations` tries them all.

`python -m tests.export.gate.mutations figures/mutations.json` writes what caught each, with figure and limit;
test_mutations.py beside this runs the same list and compares.
"""

import copy
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image
from tests.data import LABELS
from torch import nn

from torchless.doctor.machine import here
from torchless.engine import classifier
from torchless.engine.classifier import Classifier
from torchless.expected import causes
from torchless.expected.answers import read_expected
from torchless.image import exact_crop, preprocess
from torchless.model.artifact import read_artifact
from torchless.model.manifest import Manifest
from torchless.model.preprocessing import Centering, Preprocess, Resize
from torchless_export.convert.to_onnx import to_onnx
from torchless_export.convert.write import write_sealed
from torchless_export.export import write_unproved
from torchless_export.gate.checks import Verdict, check, unusable
from torchless_export.gate.oracle import Oracle, Reference
from torchless_export.gate.reference import check_reference
from torchless_export.recording import record
from torchless_export.sources import images
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest
from torchless_export.sources.transforms import Transform, torchvision_transform

REQUESTS = {
    "efficientnet_lite0": ModelRequest(
        model="efficientnet_lite0", builder="examples.efficientnet_lite:lite0"
    ),  # real weights
    "resnet18": ModelRequest(model="resnet18", weights="none"),
    "squeezenet1_1": ModelRequest(model="squeezenet1_1", weights="none"),
    "usual": ModelRequest(model="usual", builder="tests.models:usual"),
}


class _Remembering(Oracle):
    """PyTorch's side is the same for every fault in the file."""

    def __init__(self, module: nn.Module, shape: tuple[int, int, int]) -> None:
        super().__init__(module, shape)
        self._known: dict[bytes, Reference] = {}

    def reference(self, batch: torch.Tensor, *, in_all_ways: bool = True) -> Reference:
        key = batch.numpy().tobytes()
        if key not in self._known:
            self._known[key] = super().reference(batch, in_all_ways=in_all_ways)
        return self._known[key]


class Subject:
    """A model exported without a fault, and ways to put one in. Each way gives the verdict on the faulty one."""

    def __init__(self, name: str, folder: Path, artifact: Path | None = None) -> None:
        """`artifact` is the exported model, if there is one already."""
        self.name, self.loaded, self.path = name, load(REQUESTS[name]), artifact or folder / f"{name}.onnx"
        self.manifest = (
            read_artifact(artifact).manifest if artifact else write_unproved(self.loaded, self.path).manifest
        )
        self.oracle = _Remembering(self.loaded.module, self.loaded.shape)
        self.faulty = folder / "faulty.onnx"

    def check(self, path: Path | None = None) -> Verdict:
        return check(self.loaded, path or self.path, oracle=self.oracle)

    def in_file(self, change: Callable[[onnx.ModelProto], None]) -> Verdict:
        model = onnx.load(self.path)
        change(model)
        self.faulty.write_bytes(model.SerializeToString())
        return self.check(self.faulty)

    def in_manifest(self, change: Callable[[Manifest], Manifest]) -> Verdict:
        write_sealed(onnx.load(self.path), change(self.manifest), (), self.faulty)
        return self.check(self.faulty)

    def in_module(self, change: Callable[[nn.Module], object]) -> Verdict:
        """The fault is in what is exported, not in what it is compared with."""
        module = copy.deepcopy(self.loaded.module)
        change(module)
        write_sealed(to_onnx(module, self.loaded.shape), self.manifest, (), self.faulty)
        return self.check(self.faulty)

    def in_reference(self, change: Callable[[nn.Module], object]) -> Verdict:
        """The fault is in the PyTorch network itself, so that there is nothing to compare with."""
        module = copy.deepcopy(self.loaded.module)
        change(module)
        torch.manual_seed(0)
        return unusable([check_reference(replace(self.loaded, module=module))])

    def trained(
        self,
        *,
        network: Callable[[nn.Module], nn.Module] = lambda module: module,
        transform: Transform | None = None,
        probabilities: Callable[[torch.Tensor], torch.Tensor] = lambda output: output.softmax(dim=1),
        labels: tuple[str, ...] | None = None,
        seconds: float = 600,
    ) -> Verdict:
        """The file is what was asked for, and the user's answers say that another pipeline was trained. A cause is
        looked for at most so many seconds.
        """
        module, answers = network(copy.deepcopy(self.loaded.module)), self.faulty.with_name("answers.jsonl")
        photos = [photo.image.resize(size) for photo, size in zip(images.photos(), _PHOTO_SIZES, strict=False)]
        record(
            module,
            transform or self.loaded.transform,
            photos,
            answers,
            probabilities=probabilities,
            labels=labels or self.loaded.labels,
        )
        with patch.object(causes, "MAX_SECONDS", seconds):
            return check(self.loaded, self.path, oracle=self.oracle, expected=read_expected(answers))

    def in_code(self, fault: AbstractContextManager[object]) -> Verdict:
        with fault:
            return self.check()


Fault = Callable[[Subject], Verdict]


@dataclass(frozen=True)
class Mutation:
    """`checks` are those that must fail, at least, and `place` is the node and module that must be named, or the likely
    cause of answers that are not the user's; None where the network is right.
    """

    name: str
    model: str
    fault: Fault
    checks: frozenset[str]
    place: str | None = None


LOGITS = frozenset({"logits_random", "logits_photos"})
DECISION = frozenset({"decision"})
PREPROCESSING = frozenset({"preprocessing"})


def initializer(model: onnx.ModelProto, *, dims: int, index: int = 0) -> onnx.TensorProto:
    return [
        weight
        for weight in model.graph.initializer
        if len(weight.dims) == dims and weight.data_type == onnx.TensorProto.FLOAT
    ][index]


def rewrite(weight: onnx.TensorProto, change: Callable[[np.ndarray], np.ndarray]) -> None:
    values = change(numpy_helper.to_array(weight).copy())
    weight.CopyFrom(numpy_helper.from_array(values.astype(np.float32), weight.name))


def conv(model: onnx.ModelProto, index: int) -> tuple[onnx.TensorProto, onnx.TensorProto]:
    """The weight and bias of the graph's convolution number `index`."""
    node = [node for node in model.graph.node if node.op_type == "Conv"][index]
    weights = {weight.name: weight for weight in model.graph.initializer}
    return weights[node.input[1]], weights[node.input[2]]


def scale_convolution(model: onnx.ModelProto) -> None:
    rewrite(conv(model, 10)[0], lambda values: values * 1.01)


def zero_one_bias(model: onnx.ModelProto) -> None:
    def change(values: np.ndarray) -> np.ndarray:
        values[np.abs(values).argsort()[len(values) // 2]] = 0  # not the largest, not the smallest
        return values

    rewrite(conv(model, 10)[1], change)


def swap_channels(model: onnx.ModelProto) -> None:
    for weight in conv(model, 10):
        rewrite(weight, lambda values: values[[1, 0, *range(2, len(values))]])


def set_first(value: float) -> Callable[[onnx.ModelProto], None]:
    def change(values: np.ndarray) -> np.ndarray:
        values.flat[0] = value
        return values

    return lambda model: rewrite(conv(model, 10)[0], change)


def round_to_half(model: onnx.ModelProto) -> None:
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            rewrite(weight, lambda values: values.astype(np.float16))


def rotate_classes(model: onnx.ModelProto) -> None:
    """Every logit is right, at the wrong place."""
    for weight in model.graph.initializer:
        if weight.dims[:1] == [1000]:
            rewrite(weight, lambda values: np.roll(values, 1, axis=0))


def freeze(model: onnx.ModelProto) -> None:
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1


def freeze_inside(model: onnx.ModelProto) -> None:
    """The usual way to lose the batch axis: it is symbolic outside, and a Reshape within knows one size only."""
    model.graph.node[-1].output[0] = "raw"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 1000]), "frozen"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["raw", "frozen"], ["logits"]))


def transpose_kernel(model: onnx.ModelProto) -> None:
    rewrite(conv(model, 0)[0], lambda values: values.transpose(0, 1, 3, 2))


def softmax_at_the_end(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(onnx.helper.make_node("Softmax", ["raw"], ["logits"]))


def other_eps(module: nn.Module) -> None:
    module.layer2[0].bn1.eps = 1e-3  # torchvision's is 1e-5


def unbounded_activations(module: nn.Module) -> None:
    """ReLU6 → ReLU, everywhere."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(parent, name, nn.ReLU())


def flip_ceil_mode(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, nn.MaxPool2d):
            child.ceil_mode = not child.ceil_mode


def statistics_of_the_batch(module: nn.Module) -> None:
    """What train mode does: a batch norm takes mean and variance from the images of the batch."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.running_mean = child.running_var = None


def dropout_in_forward(module: nn.Module) -> None:
    """As F.dropout(x) does it in a forward(): its `training` is True unless it is given."""
    head = next(child for child in module.modules() if isinstance(child, nn.Linear))
    head.register_forward_pre_hook(lambda _, inputs: (nn.functional.dropout(inputs[0], 0.2),))


def other_seed(module: nn.Module) -> None:
    module.load_state_dict(load(replace(REQUESTS["resnet18"], seed=1)).module.state_dict())


def other_preprocessing(**changes: Any) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, preprocess=replace(manifest.preprocess, **changes))


def rotated_labels(manifest: Manifest) -> Manifest:
    return replace(manifest, labels=(*manifest.labels[1:], manifest.labels[0]))


def channels_reversed() -> AbstractContextManager[object]:
    real = classifier.preprocess_crop
    return patch.object(
        classifier, "preprocess_crop", lambda image, spec, **options: real(image, spec, **options)[::-1].copy()
    )


def no_antialias() -> AbstractContextManager[object]:
    """As torch's interpolate without antialias, OpenCV's and ONNX's Resize do it: only the neighbouring pixels
    count.
    """

    def crop(image: Image.Image, spec: Preprocess) -> Image.Image:
        size = preprocess.resized_size(image.width, image.height, spec.resize)
        scale = (image.width / size[0], 0, 0, 0, image.height / size[1], 0)
        return preprocess.center_crop(
            image.transform(size, Image.Transform.AFFINE, scale, Image.Resampling.BICUBIC), spec.crop or (224, 224)
        )

    return patch.object(exact_crop, "_exact_crop", crop)


@contextmanager
def crop_one_pixel_off() -> Iterator[None]:
    real = preprocess.crop_start

    def off(size: int, crop: int, centering: Centering = "even") -> int:
        return real(size, crop, centering) + 1

    with patch.object(exact_crop, "crop_start", off), patch.object(preprocess, "crop_start", off):
        yield


def long_side_rounded() -> AbstractContextManager[object]:
    real = preprocess.resized_size

    def rounded(width: int, height: int, resize: Resize) -> tuple[int, int]:
        return real(width, height, replace(resize, rounding="nearest"))

    return patch.object(exact_crop, "resized_size", rounded)


@contextmanager
def answers_of_the_first_image() -> Iterator[None]:
    """A runtime that gives every image of a batch the answers of the first."""
    real = Classifier.run
    with patch.object(Classifier, "run", lambda self, batch: real(self, batch[:1]).repeat(len(batch), axis=0)):
        yield


def vacuous(subject: Subject) -> Verdict:
    """Both sides agree perfectly, on logits that never move: what torchvision's untrained networks give."""
    head = [child for child in subject.loaded.module.modules() if isinstance(child, nn.Linear)][-1]
    weight = head.weight.detach().clone()
    try:
        nn.init.zeros_(head.weight)
        module = subject.loaded.module
        write_sealed(
            to_onnx(module, subject.loaded.shape),
            subject.manifest,
            (),
            subject.faulty,
        )
        return check(subject.loaded, subject.faulty)
    finally:
        head.weight.data.copy_(weight)


def prepared(*, bgr: bool = False, **changes: Any) -> Transform:
    """The usual preprocessing with changes, as torchvision does it."""
    spec = Preprocess.centered(resize=36, crop=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    transform = torchvision_transform(replace(spec, **changes))
    return lambda image: transform(Image.merge("RGB", image.split()[::-1]) if bgr else image)


def ending_in(layer: nn.Module) -> Callable[[nn.Module], nn.Module]:
    return lambda module: nn.Sequential(module, layer)


def with_layer(number: int, layer: nn.Module) -> Callable[[nn.Module], nn.Module]:
    """Another layer without weights in the place of that one."""

    def change(module: nn.Module) -> nn.Module:
        module[number] = layer
        return module

    return change


def without_stride(module: nn.Module) -> nn.Module:
    module[0].stride = (1, 1)
    return module


def of_another_epoch(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.05)
    return module


def with_classes(*order: int) -> Callable[[nn.Module], nn.Module]:
    """The classes of the last layer in another order."""

    def change(module: nn.Module) -> nn.Module:
        with torch.no_grad():
            for parameter in module[-1].parameters():
                parameter.copy_(parameter[list(order)].clone())
        return module

    return change


def _file(change: Callable[[onnx.ModelProto], None]) -> Fault:
    return lambda subject: subject.in_file(change)


def _module(change: Callable[[nn.Module], object]) -> Fault:
    return lambda subject: subject.in_module(change)


def _reference(change: Callable[[nn.Module], object]) -> Fault:
    return lambda subject: subject.in_reference(change)


def _manifest(change: Callable[[Manifest], Manifest]) -> Fault:
    return lambda subject: subject.in_manifest(change)


def _trained(**pipeline: Any) -> Fault:
    return lambda subject: subject.trained(**pipeline)


def _code(fault: Callable[[], AbstractContextManager[object]]) -> Fault:
    return lambda subject: subject.in_code(fault())


_PHOTO_SIZES = ((90, 64), (64, 90), (120, 70))
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
LITE0, RESNET, USUAL = "efficientnet_lite0", "resnet18", "usual"

TRANSFORM, HEAD, CLASS_ORDER, NETWORK = (
    "the transform",
    "the head",
    "the class order",
    "the architecture or the weights",
)

# What the export was not told: (what was trained otherwise, that pipeline, the cause that must be named). All other
# checks pass. Of networks nothing gives the answers, so one alternative is enough.
TRAINED: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("squeezed images", {"transform": prepared(resize=Resize(mode="exact", size=(32, 32)), crop=None)}, TRANSFORM),
    ("a resize to 40", {"transform": prepared(resize=Resize(mode="short_side", size=(40,)))}, TRANSFORM),
    ("padding to a square", {"transform": prepared(resize=Resize(mode="long_side", size=(32,)))}, TRANSFORM),
    ("no resize", {"transform": prepared(resize=Resize(mode="none"))}, TRANSFORM),
    (
        "images of 64 pixels",
        {"transform": prepared(resize=Resize(mode="short_side", size=(64,)), crop=(64, 64))},
        TRANSFORM,
    ),
    ("bicubic for bilinear", {"transform": prepared(interpolation="bicubic")}, TRANSFORM),
    ("ImageNet's mean and std", {"transform": prepared(**IMAGENET)}, TRANSFORM),
    ("no mean and std", {"transform": prepared(mean=(0.0,) * 3, std=(1.0,) * 3)}, TRANSFORM),
    ("values of 0 to 255", {"transform": prepared(mean=(0.0,) * 3, std=(1 / 255,) * 3)}, TRANSFORM),
    ("BGR for RGB", {"transform": prepared(bgr=True)}, TRANSFORM),
    ("a sigmoid for each class", {"probabilities": torch.sigmoid}, HEAD),
    ("a softmax at the end", {"network": ending_in(nn.Softmax(dim=1))}, HEAD),
    ("a log-softmax at the end", {"network": ending_in(nn.LogSoftmax(dim=1))}, HEAD),
    ("a sigmoid at the end", {"network": ending_in(nn.Sigmoid())}, HEAD),
    ("labels in alphabetical order", {"labels": tuple(sorted(LABELS))}, CLASS_ORDER),
    ("labels one line further", {"labels": (*LABELS[1:], LABELS[0])}, CLASS_ORDER),
    ("two classes exchanged", {"network": with_classes(1, 0, 2, 3, 4)}, CLASS_ORDER),
    ("classes rotated by one", {"network": with_classes(4, 0, 1, 2, 3)}, CLASS_ORDER),
    ("a stride of 1", {"network": without_stride, "seconds": 0}, NETWORK),
    ("average for maximum pooling", {"network": with_layer(3, nn.AvgPool2d(2)), "seconds": 0}, NETWORK),
    ("ReLU for ReLU6", {"network": with_layer(2, nn.ReLU()), "seconds": 0}, NETWORK),
    ("the weights of another epoch", {"network": of_another_epoch, "seconds": 0}, NETWORK),
)

MUTATIONS = (
    Mutation(
        "one convolution's weights × 1.01", LITE0, _file(scale_convolution), LOGITS, "Conv of blocks.3.block.1.1.1"
    ),
    Mutation("one bias zeroed", LITE0, _file(zero_one_bias), LOGITS, "Conv of blocks.3.block.1.1.1"),
    Mutation(
        "two output channels swapped", LITE0, _file(swap_channels), LOGITS | DECISION, "Conv of blocks.3.block.1.1.1"
    ),
    Mutation("all weights rounded to float16", LITE0, _file(round_to_half), LOGITS, "Conv of stem.1.1"),
    Mutation(
        "a kernel's height and width exchanged", LITE0, _file(transpose_kernel), LOGITS | DECISION, "Conv of stem.1.1"
    ),
    Mutation(
        "classes of the last layer rotated by one",
        LITE0,
        _file(rotate_classes),
        LOGITS | DECISION,
        "Gemm of classifier",
    ),
    Mutation("softmax left at the end", LITE0, _file(softmax_at_the_end), LOGITS, "Softmax of the network itself"),
    Mutation("a NaN weight", LITE0, _file(set_first(float("nan"))), frozenset({"structure"})),
    Mutation("the batch axis frozen at 1", LITE0, _file(freeze), frozenset({"structure"})),
    Mutation("the batch axis frozen at 1, inside the graph", LITE0, _file(freeze_inside), frozenset({"runs"})),
    Mutation("ReLU6 replaced by ReLU", LITE0, _module(unbounded_activations), LOGITS, "Relu of stem.1.2"),
    Mutation("one BatchNorm's eps 1e-5 → 1e-3", RESNET, _module(other_eps), LOGITS, "Conv of layer2.0.bn1"),
    Mutation(
        "a pooling layer's ceil_mode flipped", RESNET, _module(flip_ceil_mode), LOGITS | DECISION, "MaxPool of maxpool"
    ),
    Mutation(
        "batch norms as in train mode",
        RESNET,
        _module(statistics_of_the_batch),
        LOGITS | DECISION,
        "BatchNormalization of bn1",
    ),
    Mutation(
        "weights of another model of the same shape", RESNET, _module(other_seed), LOGITS | DECISION, "Conv of bn1"
    ),
    Mutation("logits made vacuous", RESNET, vacuous, frozenset({"not_vacuous"})),
    Mutation(
        "mean and std of another preset", LITE0, _manifest(other_preprocessing(**IMAGENET)), PREPROCESSING | LOGITS
    ),
    Mutation(
        "bilinear for bicubic", LITE0, _manifest(other_preprocessing(interpolation="bilinear")), PREPROCESSING | LOGITS
    ),
    Mutation(
        "resize size off by one",
        LITE0,
        _manifest(other_preprocessing(resize=Resize(mode="short_side", size=(257,)))),
        PREPROCESSING | LOGITS,
    ),
    Mutation("labels rotated by one", LITE0, _manifest(rotated_labels), frozenset({"labels"})),
    Mutation("RGB swapped for BGR", LITE0, _code(channels_reversed), PREPROCESSING | LOGITS),
    Mutation("antialias dropped", LITE0, _code(no_antialias), PREPROCESSING | LOGITS),
    Mutation("the crop off by one pixel", LITE0, _code(crop_one_pixel_off), PREPROCESSING | LOGITS),
    Mutation("the long side rounded, not cut off", LITE0, _code(long_side_rounded), PREPROCESSING),
    Mutation(
        "a batch answered with its first image",
        LITE0,
        _code(answers_of_the_first_image),
        LOGITS | DECISION | {"batching"},
    ),
    Mutation("dropout in PyTorch's own forward", LITE0, _reference(dropout_in_forward), frozenset({"reference"})),
    Mutation(
        "PyTorch's own batch norms without running statistics",
        LITE0,
        _reference(statistics_of_the_batch),
        frozenset({"reference"}),
    ),
    *(
        Mutation(f"trained with {name}", USUAL, _trained(**pipeline), frozenset({"expected"}), cause)
        for name, pipeline, cause in TRAINED
    ),
)

# Not faults: the gate must let them pass, since the files are right. docs/parity.md gives the reasons, the tests the
# proofs.
EQUIVALENT = (
    Mutation(
        "ceil_mode flipped where the sizes divide without a rest", "squeezenet1_1", _module(flip_ceil_mode), frozenset()
    ),
    Mutation("the module left in train mode", RESNET, _module(nn.Module.train), frozenset()),
)


def place(verdict: Verdict) -> str | None:
    """The node and module that the gate names, or the likely cause, if it does."""
    departure = verdict.departure
    if departure is not None and departure.node:
        return f"{departure.operator} of {departure.module or 'the network itself'}"
    details = [check.detail for check in verdict.parity.checks if check.name == "expected"]
    found = re.search("likely cause: ([^:]+)", details[0]) if details else None
    return found[1] if found is not None else None


def row(mutation: Mutation, verdict: Verdict) -> dict[str, Any]:
    """What is committed of it: the check that shows it most plainly is the first that fails."""
    failed = [check for check in verdict.parity.checks if not check.passed]
    departure = verdict.departure
    return {
        "mutation": mutation.name,
        "model": mutation.model,
        "caught_by": [check.name for check in failed],
        "figure": failed[0].figure if failed and np.isfinite(failed[0].figure) else None,
        "limit": failed[0].limit if failed else None,
        "said": str(departure) if departure is not None and departure.node else None,
        "place": place(verdict),
    }


def main() -> None:
    """Runs all of them and writes the JSON file that is named."""
    with tempfile.TemporaryDirectory() as folder:
        subjects: dict[str, Subject] = {}
        rows = []
        for mutation in (*MUTATIONS, *EQUIVALENT):
            if mutation.model not in subjects:
                subjects[mutation.model] = Subject(mutation.model, Path(folder))
            rows.append(row(mutation, mutation.fault(subjects[mutation.model])))
            sys.stdout.write(json.dumps(rows[-1], ensure_ascii=False) + "\n")
    Path(sys.argv[1]).write_text(json.dumps({**here(), "rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
