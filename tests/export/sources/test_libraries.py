"""Networks of timm and of Hugging Face's transformers, on checkpoints and folders that the tests write."""

import json
import os
from collections.abc import Iterator
from io import StringIO
from logging import getLogger
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import timm
import torch
from huggingface_hub.utils.logging import get_logger
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.utils import logging

from torchless import Classifier
from torchless.errors import MissingDependencyError, UsageError
from torchless.image.exact_crop import preprocess_crop
from torchless.model.preprocessing import Preprocess, Resize
from torchless_export import export_model
from torchless_export.errors import UnknownModelError, WeightsError
from torchless_export.sources.libraries import _having
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest, library_of, stem

NETWORK = "timm:test_resnet"
PROCESSOR = {
    "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 64}, "crop_pct": 0.875,
    "do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 3,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
}  # fmt: skip


@pytest.fixture(autouse=True)
def offline() -> Iterator[None]:
    """No test waits for a hub that it cannot reach."""
    with patch.dict(os.environ, {"HF_HUB_OFFLINE": "1"}), patch("huggingface_hub.constants.HF_HUB_OFFLINE", True):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What `save_pretrained` writes, with an image processor beside it."""
    made = tmp_path / "bees"
    torch.manual_seed(0)
    save(made)
    return made


def save(folder: Path, processor: dict | None = None, **config: object) -> None:
    logging.disable_progress_bar()
    options = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    names = {0: "ant", 1: "bee", 2: "wasp"}
    network = ResNetForImageClassification(ResNetConfig(id2label=names, **options, **config))
    for parameter in network.parameters():  # logits of a trained model's scale
        parameter.data.mul_(3)
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor or PROCESSOR))


@pytest.mark.parametrize(
    ("model", "found", "name"),
    [
        ("timm:resnet18.a1_in1k", ("timm", "resnet18.a1_in1k"), "resnet18.a1_in1k"),
        ("hf:google/vit-base", ("hf", "google/vit-base"), "vit-base"),
        ("hf:./models/bees/", ("hf", "./models/bees/"), "bees"),
        ("resnet18", None, "resnet18"),
        ("C:resnet18", None, "C:resnet18"),
    ],
)
def test_which_library_and_which_name(model: str, found: tuple | None, name: str) -> None:
    assert (library_of(model), stem(model)) == (found, name)


class TestTimm:
    def test_its_own_preprocessing_and_labels(self) -> None:
        loaded = load(ModelRequest(model="timm:resnet18.a1_in1k", weights="none"))
        assert loaded.preprocess == Preprocess.centered(
            resize=235, crop=224, interpolation="bicubic", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
        )
        assert (len(loaded.labels), loaded.labels[0]) == (1000, "tench, Tinca tinca")
        assert (loaded.info.name, loaded.info.source) == ("resnet18.a1_in1k", "timm")
        assert loaded.info.weights is None

    def test_a_checkpoint_of_other_classes(self, tmp_path: Path) -> None:
        """From the file to the answer: what timm's own code would give."""
        torch.manual_seed(0)
        network = timm.create_model("test_resnet", num_classes=3).eval()
        for parameter in network.parameters():
            parameter.data.mul_(2)
        torch.save({"state_dict": network.state_dict()}, tmp_path / "mine.pth")
        request = ModelRequest(model=NETWORK, checkpoint=tmp_path / "mine.pth", labels=("ant", "bee", "wasp"))
        exported = export_model(request, output=tmp_path / "mine.onnx")
        assert exported.manifest.assumed == ("architecture", "transform", "activation")
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (231, 310, 3), dtype=np.uint8))
        with torch.inference_mode():
            wanted = network(transform(image)[None]).softmax(dim=1)[0]
        best = Classifier(exported.path).classify(image).predictions[0]
        assert best.index == int(wanted.argmax())
        assert best.probability == pytest.approx(float(wanted.max()), abs=1e-5)

    def test_names_that_it_does_not_have(self) -> None:
        with pytest.raises(UnknownModelError, match="timm has no model resnet188; did you mean resnet18"):
            load(ModelRequest(model="timm:resnet188"))

    def test_a_hub_that_does_not_answer_is_told_once_and_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        screen = StringIO()
        monkeypatch.setattr(getLogger("huggingface_hub").handlers[0], "stream", screen)
        hub = get_logger("huggingface_hub.utils._http")
        with pytest.raises(WeightsError, match=r"^cannot have timm:x: no route\. [^.]"), _having("timm:x"):
            hub.warning("'no route' thrown while requesting HEAD https://x/y")
            said = screen.getvalue()
            hub.warning("Retrying in 1s [Retry 1/5].")
            hub.warning("'no route' thrown while requesting HEAD https://x/y")
            raise OSError("no route.")
        assert said.startswith("no answer from Hugging Face's hub ('no route'); its library goes on asking for")
        assert screen.getvalue() == said
        hub.warning("as before")
        assert screen.getvalue() == f"{said}as before\n"

    def test_weights_that_cannot_be_had(self) -> None:
        with pytest.raises(WeightsError, match=r"cannot have timm:resnet18\.a1_in1k: .*`weights` none makes random"):
            load(ModelRequest(model="timm:resnet18.a1_in1k"))


class TestHuggingFace:
    def test_a_folder(self, folder: Path, tmp_path: Path) -> None:
        """From the file to the answer: what transformers' own code would give, odd margins of the crop included."""
        exported = export_model(ModelRequest(model=f"hf:{folder}"), output=tmp_path / "bees.onnx")
        manifest, network = exported.manifest, ResNetForImageClassification.from_pretrained(folder).eval()
        assert (manifest.model.name, manifest.model.source, manifest.labels) == ("bees", "hf", ("ant", "bee", "wasp"))
        assert (manifest.preprocess.resize.size, manifest.preprocess.crop) == ((73,), (64, 64))
        prepare = load(ModelRequest(model=f"hf:{folder}")).transform
        for width, height in ((301, 222), (65, 70), (224, 500)):
            image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
            np.testing.assert_array_equal(preprocess_crop(image, manifest.preprocess), prepare(image).numpy())
            with torch.inference_mode():
                wanted = network(pixel_values=prepare(image)[None]).logits.softmax(dim=1)[0]
            found = Classifier(exported.path).classify(image).predictions[0]
            assert (found.index, found.probability) == (
                int(wanted.argmax()),
                pytest.approx(float(wanted.max()), abs=1e-5),
            )

    def test_a_multi_label_model_says_so_itself(self, folder: Path) -> None:
        save(folder, problem_type="multi_label_classification")
        loaded = load(ModelRequest(model=f"hf:{folder}"))
        assert (loaded.activation, loaded.assumed) == ("sigmoid", ())
        save(folder)
        assert load(ModelRequest(model=f"hf:{folder}")).assumed == ("activation",)

    @pytest.mark.parametrize(
        ("size", "resize", "crop"),
        [
            ({"size": {"height": 40, "width": 50}, "crop_pct": None}, Resize(mode="exact", size=(40, 50)), None),
            ({"size": {"shortest_edge": 384}}, Resize(mode="exact", size=(384, 384)), None),
        ],
    )
    def test_other_sizes(self, folder: Path, size: dict, resize: Resize, crop: tuple | None) -> None:
        kind = {"image_processor_type": "ViTImageProcessor"} if "height" in size["size"] else {}
        save(folder, processor=PROCESSOR | kind | size)
        loaded = load(ModelRequest(model=f"hf:{folder}"))
        assert (loaded.preprocess.resize, loaded.preprocess.crop) == (resize, crop)
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 61, 3), dtype=np.uint8))
        np.testing.assert_array_equal(preprocess_crop(image, loaded.preprocess), loaded.transform(image).numpy())

    def test_steps_that_a_manifest_cannot_express(self, folder: Path) -> None:
        save(folder, processor=PROCESSOR | {"do_rescale": False})
        with pytest.raises(UsageError, match="ConvNextImageProcessorPil does not scale values to 0..1"):
            load(ModelRequest(model=f"hf:{folder}"))

    def test_what_is_not_there(self, folder: Path) -> None:
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(WeightsError, match=r"cannot have hf:.*bees"):
            load(ModelRequest(model=f"hf:{folder}"))
        with pytest.raises(WeightsError, match=r"there is no folder \./nowhere"):
            load(ModelRequest(model="hf:./nowhere"))


@pytest.mark.parametrize(("library", "model"), [("timm", NETWORK), ("transformers", "hf:./bees")])
def test_without_the_library(library: str, model: str) -> None:
    with (
        patch.dict("sys.modules", {library: None}),
        pytest.raises(MissingDependencyError, match=r"torchless\[(timm|hf)\]"),
    ):
        load(ModelRequest(model=model))
