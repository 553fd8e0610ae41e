"""The folder of a container image. `make containers` builds one and runs it."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from tests.surroundings import PATIENCE_S

from torchless.errors import UsageError
from torchless.model.artifact import read_artifact
from torchless.model.signing import make_key, sign
from torchless.shipping import container
from torchless.shipping.container import image_name, write_build_folder
from torchless.shipping.wheelhouse import _instructions


@pytest.fixture(autouse=True)
def collected(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """How wheels were asked for: none is fetched here."""
    asked: list[dict[str, object]] = []

    def own_wheel(folder: Path) -> Path:
        (wheel := folder / "torchless-1.2.3-py3-none-any.whl").touch()
        return wheel

    def collect_wheels(folder: Path, **given: object) -> Path:
        asked.append(given)
        folder.mkdir()
        return own_wheel(folder)

    monkeypatch.setattr(container, "own_wheel", own_wheel)
    monkeypatch.setattr(container, "collect_wheels", collect_wheels)
    return asked


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny, tmp_path / "My_Model.onnx"))


def written(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_it_has_the_model_its_signature_wheels_and_examples(model: Path, tmp_path: Path, collected: list) -> None:
    make_key(tmp_path / "key")
    sign(model, tmp_path / "key")
    write_build_folder(model, tmp_path / "image", platform="linux/arm64")
    assert written(tmp_path / "image") == [
        "Containerfile", "compose.yaml", "kubernetes.yaml", "model/My_Model.onnx", "model/My_Model.onnx.sig",
        "wheels/torchless-1.2.3-py3-none-any.whl",
    ]  # fmt: skip
    assert collected[0]["extras"] == "cpu,serve"
    assert set(collected[0]["platforms"]) >= {"manylinux_2_28_aarch64", "manylinux2014_aarch64"}
    text = (tmp_path / "image" / "Containerfile").read_text()
    assert "'torchless[cpu,serve]==1.2.3'" in text
    assert "$" not in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    entry = json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[0])
    assert entry[1:3] == ["serve", "/model/My_Model.onnx"]


def test_for_a_gpu(model: Path, tmp_path: Path, collected: list) -> None:
    write_build_folder(model, tmp_path / "image", gpu=True)
    assert collected == []
    text = (tmp_path / "image" / "Containerfile").read_text()
    assert "'torchless[gpu,serve]==1.2.3'" in text
    assert '"--device", "cuda"' in text
    assert "onnxruntime-gpu==" in (tmp_path / "image" / "wheels" / "constraints.txt").read_text()
    compose = yaml.safe_load((tmp_path / "image" / "compose.yaml").read_text())
    (service,) = compose["services"].values()
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    deployment, _ = yaml.safe_load_all((tmp_path / "image" / "kubernetes.yaml").read_text())
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("gpu", [False, True])
def test_kubernetes_takes_its_example(model: Path, tmp_path: Path, gpu: bool) -> None:
    write_build_folder(model, tmp_path / "image", gpu=gpu)
    documents = list(yaml.safe_load_all((tmp_path / "image" / "kubernetes.yaml").read_text()))
    assert [document["kind"] for document in documents] == ["Deployment", "Service"]
    for document in documents:
        kubernetes_validate.validate(document, "1.30", strict=True)
    broken = json.loads(json.dumps(documents[0]).replace("readinessProbe", "readyProbe"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.30", strict=True)
    pod = documents[0]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]


def test_a_model_without_evidence_is_not_proved_while_it_is_built(changed: Callable[..., Path], tmp_path: Path) -> None:
    def bare(model: object) -> None:
        kept = [entry for entry in model.metadata_props if entry.key != "torchless.evidence"]  # type: ignore[attr-defined]
        del model.metadata_props[:]  # type: ignore[attr-defined]
        model.metadata_props.extend(kept)  # type: ignore[attr-defined]

    write_build_folder(changed(bare), tmp_path / "image")
    assert "verify" not in (tmp_path / "image" / "Containerfile").read_text()


def test_a_models_name_is_no_command(tiny: Path, changed: Callable[..., Path], tmp_path: Path) -> None:
    """Neither the manifest's, which may hold a line break, nor that of its file."""
    manifest = read_artifact(tiny).manifest
    model = changed(manifest=replace(manifest, model=replace(manifest.model, name="a\nRUN evil")).to_json())
    write_build_folder(model, tmp_path / "image")
    assert "\nRUN evil" not in (tmp_path / "image" / "Containerfile").read_text()
    odd = Path(shutil.copy(tiny, tmp_path / "a $(echo b)'.onnx"))
    script = _instructions(read_artifact(odd), Path("torchless-1.2.3.whl"))["install.sh"]
    last = ["sh", "-c", f"here=house folder=venv\n{script.splitlines()[-1]}"]
    said = subprocess.run(last, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout
    assert said == f"now: venv/bin/infer house/{odd.name} IMAGE...\n"


def test_an_image_has_one_name() -> None:
    assert image_name(Path("a/EfficientNet_lite0.int8.onnx")) == "efficientnet-lite0-int8"


def test_what_cannot_be_written(model: Path, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UsageError, match="already exists and is not an empty folder; name another, or delete it$"):
        write_build_folder(model, tmp_path / "full")
    with pytest.raises(UsageError, match=r"no images for windows/amd64; `platform` is linux/amd64 or linux/arm64"):
        write_build_folder(model, tmp_path / "image", platform="windows/amd64")
    odd = shutil.copy(tiny, tmp_path / "a 'b'.onnx")
    with pytest.raises(UsageError, match="a model's name has only letters, digits"):
        write_build_folder(Path(odd), tmp_path / "image")
    assert not (tmp_path / "image").exists()
