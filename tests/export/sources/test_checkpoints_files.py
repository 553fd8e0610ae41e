"""What a checkpoint file may be and hold beside the weights, and what is said about files that are something else."""

import argparse
import datetime
import pathlib
import re
import struct
import sys
import types
import warnings
from collections import defaultdict, deque
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests import models
from tests.export.sources.checkpoint_files import prefixed
from torch import nn

from torchless.model.artifact import sha256_of
from torchless_export.errors import NoCheckpointError, WeightsError
from torchless_export.sources.load import LoadedModel, load
from torchless_export.sources.request import ModelRequest


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Of the network of tests/models.py, with values of its own."""
    return {name: value + 1 for name, value in models.network().state_dict().items()}


def loaded_from(path: Path, **options: object) -> LoadedModel:
    return load(ModelRequest(model="tiny", builder="tests.models:tiny", checkpoint=path, **options))


def saved(content: object, folder: Path, **options: object) -> LoadedModel:
    torch.save(content, folder / "mine.pth")
    return loaded_from(folder / "mine.pth", **options)


def refusal(path: Path) -> str:
    with warnings.catch_warnings(), pytest.raises(WeightsError) as caught:
        warnings.simplefilter("error")
        loaded_from(path)
    message = str(caught.value)
    assert "\x1b" not in message
    return message


def same(loaded: LoadedModel, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in loaded.module.state_dict().items())


def as_of(module: str, monkeypatch: pytest.MonkeyPatch) -> type[dict]:
    """Lightning's AttributeDict, as that package is not installed here."""

    class AttributeDict(dict):
        """Its entries are attributes too."""

        __qualname__ = "AttributeDict"

    AttributeDict.__module__ = module
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    sys.modules[module].AttributeDict = AttributeDict
    return AttributeDict


class TestBesideTheWeights:
    """Plain values of other types; nothing of them is made, and their own code does not run."""

    @pytest.mark.parametrize(
        "value",
        [
            np.float64(0.9), np.arange(3), np.random.default_rng(1).random(3)[0], np.array(["a", 1], dtype=object),
            Path("runs/1"), pathlib.PureWindowsPath("c:/runs"), argparse.Namespace(lr=0.1, output=Path("x")),
            defaultdict(list, {"loss": [1.0]}), deque([1, 2], maxlen=2), datetime.date(2026, 1, 1), torch.__version__,
        ],
        ids=lambda value: type(value).__name__,
    )  # fmt: skip
    def test_plain_values(self, value: object, state, tmp_path: Path) -> None:
        assert same(saved({"state_dict": state, "beside": value}, tmp_path), state)

    @pytest.mark.parametrize(
        "module", ["pytorch_lightning.utilities.parsing", "lightning.fabric.utilities.data"], ids=lambda name: name[:12]
    )
    def test_lightnings_dictionary(self, module: str, state, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        attributes = as_of(module, monkeypatch)
        content = attributes(state_dict=state, hyper_parameters=attributes(lr=0.1))
        assert same(saved(content, tmp_path), state)

    def test_tensors_beside_the_state_dict(self, state, tmp_path: Path) -> None:
        content = {"rng_state": torch.get_rng_state(), "class_weights": torch.ones(5), "model_state_dict": state}
        assert same(saved(content, tmp_path), state)

    def test_objects_of_other_classes_are_named(self, state, tmp_path: Path) -> None:
        torch.save({"model": state, "loss": nn.CrossEntropyLoss()}, tmp_path / "mine.pth")
        message = refusal(tmp_path / "mine.pth")
        assert "more than tensors and plain values: torch.nn.modules.loss.CrossEntropyLoss" in message
        assert followed(message, tmp_path).keys() == state.keys()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def followed(message: str, folder: Path) -> dict[str, torch.Tensor]:
    """The state dict that the lines in a message make of a file."""
    lines = [line.strip() for line in message.splitlines() if line.startswith("    ")]
    code = "\n".join(lines)
    target = re.search(r"'([^']*-state-dict\.pth)'", code)[1]
    exec(code.replace(repr(target), repr(str(folder / target))), {})
    return torch.load(folder / target, weights_only=True)


def test_no_code_runs(state, tmp_path: Path) -> None:
    torch.save({"model": state, "a": Bomb(tmp_path / "ran")}, tmp_path / "mine.pth")
    assert "Files that hold pickled code are refused" in refusal(tmp_path / "mine.pth")
    torch.save([Bomb(tmp_path / "ran")], tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert "Files that hold pickled code are refused" in refusal(tmp_path / "old.pth")
    assert not (tmp_path / "ran").exists()


class TestWhereTheWeightsAre:
    @pytest.mark.parametrize(
        ("content", "key"),
        [
            (lambda s: {"checkpoint": {"model": s}}, "checkpoint.model"),
            (lambda s: {"network": s}, "network"),
            (lambda s: {"net": s, "acc": 93.1, "epoch": 3}, "net"),
            (lambda s: {"ema": s}, "ema"),
            (lambda s: {"a.b": {"c": s}}, "a.b.c"),
            (lambda s: ({"x": 1}, s), "1"),
        ],
        ids=["nested", "network", "net", "ema", "dots", "tuple"],
    )
    def test_keys(self, content, key: str, state, tmp_path: Path) -> None:
        loaded = saved(content(state), tmp_path)
        assert same(loaded, state)
        assert loaded.notes == (f"took the weights under {key!r} in mine.pth",)
        if isinstance(content(state), dict):
            assert same(loaded_from(tmp_path / "mine.pth", checkpoint_key=key), state)

    def test_a_key_that_leads_to_part_of_the_names(self, state, tmp_path: Path) -> None:
        plain = models.network().state_dict()
        content = {"state_dict": prefixed("student.", state) | prefixed("copy.net.", plain)}
        assert same(saved(content, tmp_path, checkpoint_key="state_dict.copy"), plain)
        chosen = saved(content, tmp_path)
        assert same(chosen, state)
        (note,) = chosen.notes
        assert note.startswith("took the weights under 'state_dict.student' in mine.pth; there are others under ")
        assert note.endswith("state_dict.copy.net: `checkpoint_key` chooses")

    def test_what_lightning_keeps_beside_the_network(self, state, tmp_path: Path) -> None:
        beside = {
            "criterion.weight": torch.ones(5), "val_acc.tp": torch.zeros(5), "loss_fn.proxies.weight": torch.ones(5, 9),
        }  # fmt: skip
        loaded = saved({"state_dict": beside | prefixed("model.", state)}, tmp_path)
        assert same(loaded, state)
        assert loaded.notes == (
            "took the weights under 'state_dict.model' in mine.pth",
            "left out of mine.pth: 3 tensors, criterion.weight, val_acc.tp, loss_fn.proxies.weight",
        )

    def test_layers_beside_the_network_are_not_passed_over(self, state, tmp_path: Path) -> None:
        content = prefixed("backbone.", state) | {"head.weight": torch.ones(3, 5), "head.bias": torch.ones(3)}
        with pytest.raises(
            WeightsError, match=r"layers that Sequential does not have, .*: head.weight. `checkpoint_key` "
        ):
            saved(content, tmp_path)
        assert same(loaded_from(tmp_path / "mine.pth", checkpoint_key="backbone"), state)

    def test_a_copy_beside_plain_names(self, state, tmp_path: Path) -> None:
        plain = models.network().state_dict()
        loaded = saved(plain | prefixed("model_ema.module.", state), tmp_path)
        assert same(loaded, state)
        (note,) = loaded.notes
        assert note.startswith("took the weights under 'model_ema' in mine.pth; there are others under no prefix: ")

    def test_a_normalisation_of_its_own(self, state, tmp_path: Path) -> None:
        beside = {"normalize.mean": torch.zeros(3), "normalize.std": torch.ones(3)}
        loaded = saved(prefixed("model.", state) | beside, tmp_path)
        assert loaded.notes[-1].endswith("it may have normalised images itself; give them as `mean` and `std` then")

    def test_counters_of_thop(self, state, tmp_path: Path) -> None:
        counted = state | {"total_ops": torch.ones(1), "0.total_ops": torch.ones(1), "0.total_params": torch.ones(1)}
        loaded = saved(counted, tmp_path)
        assert same(loaded, state)
        assert loaded.notes == ("left out of mine.pth: 3 tensors, total_ops, 0.total_ops, 0.total_params",)

    def test_a_mapping_that_contains_itself(self, tmp_path: Path) -> None:
        content: dict[str, object] = {"epoch": 1}
        content["self"] = content
        torch.save(content, tmp_path / "mine.pth")
        assert "holds no state dict" in refusal(tmp_path / "mine.pth")


class TestFormats:
    @pytest.mark.parametrize("name", ["mine.pth", "mine.bin", "mine.safetensors", "mine"])
    def test_the_content_decides_not_the_ending(self, name: str, state, tmp_path: Path) -> None:
        save_file(state, tmp_path / name)
        assert same(loaded_from(tmp_path / name), state)
        torch.save(state, tmp_path / name)
        assert same(loaded_from(tmp_path / name), state)
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=False)
        assert same(loaded_from(tmp_path / name), state)

    @pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
    def test_torchscript(self, tmp_path: Path) -> None:
        network = models.network()
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 3, 32, 32)), tmp_path / "mine.pt")
        message = refusal(tmp_path / "mine.pt")
        assert "is a TorchScript program, not a state dict" in message
        assert followed(message, tmp_path).keys() == network.state_dict().keys()

    def test_an_exported_program(self, tmp_path: Path) -> None:
        network = models.network()
        torch.export.save(torch.export.export(network, (torch.zeros(1, 3, 32, 32),)), tmp_path / "mine.pt2")
        message = refusal(tmp_path / "mine.pt2")
        assert "is an exported program (torch.export), not a state dict" in message
        assert followed(message, tmp_path).keys() == network.state_dict().keys()

    @pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
    @pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"epoch": 1, "net": m}], ids=["alone", "under a key"])
    def test_a_whole_module(self, wrap, new: bool, tmp_path: Path) -> None:
        network = models.network()
        torch.save(wrap(network), tmp_path / "mine.pth", _use_new_zipfile_serialization=new)
        message = refusal(tmp_path / "mine.pth")
        assert "holds a whole pickled module (torch.nn.modules.container.Sequential), not a state dict" in message
        assert followed(message, tmp_path).keys() == network.state_dict().keys()

    def test_a_module_beside_a_state_dict(self, state, tmp_path: Path) -> None:
        """As Lightning's save_hyperparameters leaves it."""
        torch.save({"state_dict": state, "hyper_parameters": {"net": models.network()}}, tmp_path / "mine.pth")
        message = refusal(tmp_path / "mine.pth")
        assert "more than tensors and plain values: torch.nn.modules.container.Sequential" in message
        assert followed(message, tmp_path).keys() == state.keys()

    def test_an_optimizer_alone(self, tmp_path: Path) -> None:
        network = models.network()
        optimizer = torch.optim.Adam(network.parameters())
        network(torch.zeros(2, 3, 32, 32)).sum().backward()
        optimizer.step()
        torch.save(optimizer.state_dict(), tmp_path / "mine.pth")
        assert "is the state of an optimizer, which has no weights" in refusal(tmp_path / "mine.pth")
        torch.save({"optimizer": optimizer.state_dict(), "epoch": 3}, tmp_path / "mine.pth")
        assert "holds no state dict (names and tensors), but a mapping with optimizer, epoch" in refusal(
            tmp_path / "mine.pth"
        )

    def test_another_pickle_protocol(self, state, tmp_path: Path) -> None:
        torch.save(state, tmp_path / "mine.pth", pickle_protocol=4)
        message = refusal(tmp_path / "mine.pth")
        assert "is pickled in a way that torch.load reads only where code in the file may run" in message
        assert followed(message, tmp_path).keys() == state.keys()

    @pytest.mark.parametrize(
        ("content", "cause"),
        [
            (b"", "it is empty"),
            (b"<!DOCTYPE html><html></html>", "it is a web page, so the download went wrong"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                "it is Git LFS's note of a file; git lfs pull",
            ),
            (b"\x89HDF\r\n\x1a\n", "it is an HDF5 file, as Keras writes"),
            (b"hello", "it is text. A checkpoint is"),
            (b"\x89PNG\r\n\x1a\n" + bytes(60), "it is an image (PNG)"),
            (b"PK\x05\x06" + bytes(18), "it does not begin as a checkpoint does"),
            (Path("exported"), "it is an ONNX model, which is what export makes of a checkpoint"),
        ],
    )
    def test_files_that_are_no_checkpoints(self, content: bytes | Path, cause: str, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "mine.pth").write_bytes(content if isinstance(content, bytes) else tiny.read_bytes())
        with pytest.raises(NoCheckpointError) as caught:
            loaded_from(tmp_path / "mine.pth")
        assert caught.value.exit_code == 2
        assert f"cannot read the checkpoint {tmp_path / 'mine.pth'}: {cause}" in str(caught.value)

    @pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
    def test_a_file_that_ends_early(self, new: bool, state, tmp_path: Path) -> None:
        torch.save(state, tmp_path / "whole.pth", _use_new_zipfile_serialization=new)
        (tmp_path / "mine.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:2000])
        message = refusal(tmp_path / "mine.pth")
        assert "it is damaged, or ends early; copy or download it again" in message
        assert "weights_only" not in message

    def test_a_zip_that_says_it_is_one_of_two(self, tmp_path: Path) -> None:
        """Python's own question whether it is a zip raises."""
        locator, end = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 2), struct.pack("<4s4H2LH", b"PK\5\6", *[0] * 7)
        (tmp_path / "mine.pth").write_bytes(b"PK\3\4" + bytes(100) + locator + end)
        assert "it is damaged, or ends early; copy or download it again" in refusal(tmp_path / "mine.pth")

    def test_a_small_file_that_unpacks_to_much(self, tmp_path: Path) -> None:
        torch.save({"w": torch.zeros(1000, 1000)}, tmp_path / "mine.pth")
        with ZipFile(tmp_path / "mine.pth") as stored, ZipFile(tmp_path / "bomb.pth", "w", ZIP_DEFLATED) as packed:
            for name in stored.namelist():
                packed.writestr(name, stored.read(name))
        assert "would unpack to 4.0 MB, more than 20 times its size" in refusal(tmp_path / "bomb.pth")

    def test_a_folder(self, tmp_path: Path) -> None:
        assert refusal(tmp_path).endswith("is a folder; give the file of weights in it")


@pytest.mark.filterwarnings("ignore:.*quant", "ignore:.*Storage is deprecated")
class TestKindsOfTensors:
    def test_quantised(self, tmp_path: Path) -> None:
        quantised = torch.ao.quantization.quantize_dynamic(models.network(), {nn.Linear})
        torch.save(quantised.state_dict(), tmp_path / "mine.pth")
        assert "holds quantised tensors: 1, 8._packed_params._packed_params.0. " in refusal(tmp_path / "mine.pth")

    def test_quantised_in_place(self, state, tmp_path: Path) -> None:
        state["0.weight"] = torch.quantize_per_tensor(state["0.weight"], 0.1, 0, torch.qint8)
        torch.save(state, tmp_path / "mine.pth")
        assert "holds quantised tensors: 1, 0.weight. " in refusal(tmp_path / "mine.pth")

    def test_sparse(self, state, tmp_path: Path) -> None:
        torch.save(state | {"8.weight": state["8.weight"].to_sparse()}, tmp_path / "mine.pth")
        assert "holds sparse tensors: 1, 8.weight. Save them dense:" in refusal(tmp_path / "mine.pth")

    def test_meta(self, state, tmp_path: Path) -> None:
        torch.save({name: value.to("meta") for name, value in state.items()}, tmp_path / "mine.pth")
        message = refusal(tmp_path / "mine.pth")
        assert (
            f"holds meta tensors: {len(state)}, 0.weight, 0.bias, 1.weight, …. They have a shape and no values"
            in message
        )

    def test_whole_numbers(self, state, tmp_path: Path) -> None:
        torch.save(state | {"8.weight": state["8.weight"].to(torch.int8)}, tmp_path / "mine.pth")
        assert "holds integer or complex tensors: 1, 8.weight. " in refusal(tmp_path / "mine.pth")

    def test_other_floats_are_taken(self, state, tmp_path: Path) -> None:
        loaded = saved({name: value.to(torch.bfloat16) for name, value in state.items()}, tmp_path)
        assert loaded.module.state_dict()["8.weight"].dtype == torch.float32


def test_the_file_is_left_as_it_is(state, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "mine.pth")
    before = sha256_of(tmp_path / "mine.pth")
    loaded_from(tmp_path / "mine.pth")
    assert sha256_of(tmp_path / "mine.pth") == before
