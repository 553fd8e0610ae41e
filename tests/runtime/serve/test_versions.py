"""Several versions of a model behind one server: which of them answers, and what it says of itself."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from tests import onnx_model
from tests.data import LABELS
from tests.runtime.serve.conftest import Running, running
from tests.runtime.serve.test_triton import image_input
from tritonclient.utils import InferenceServerException

from torchless.model.artifact import read_artifact
from torchless.model.evidence import Evidence, evidence_of, labels_sha256
from torchless.model.manifest import Manifest
from torchless.triton.repository import write_repository


def relabelled(source: Path, target: Path, labels: str) -> Path:
    """The same network with other labels, which proves itself: so an answer shows where it comes from."""
    model, artifact, names = onnx_model.load(source), read_artifact(source), tuple(labels)
    renamed = dict(zip(artifact.manifest.labels, names, strict=True))
    evidence = evidence_of(artifact)
    images = tuple(replace(image, label=renamed[image.label]) for image in evidence.images)
    evidence = replace(evidence, images=images, labels_sha256=labels_sha256(names))
    manifest = replace(artifact.manifest, labels=names)
    onnx_model.set_metadata(model, {Manifest.KEY: manifest.to_json(), Evidence.KEY: evidence.to_text()})
    target.parent.mkdir(parents=True, exist_ok=True)
    return onnx_model.save_sealed(model, target)


def labels_of(server: Running, name: str, body: bytes) -> set[str]:
    rows = server.post(f"/classify?model={name}", content=body).json()["predictions"]
    return {row["label"] for row in rows}


@pytest.fixture(scope="module")
def versions(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Versions 2, 9 and 10 of `net`, and the file `tiny`, all served, over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("versions")
    for version, labels in ((2, "abcde"), (9, "fghij"), (10, "vwxyz")):
        relabelled(tiny, folder / "net" / str(version) / "model.onnx", labels)
    shutil.copy(tiny, folder)
    with running(folder / "net", folder / "tiny.onnx", versions="all", grpc_port=0) as server:
        yield server


def test_the_version_that_is_asked_answers_and_by_default_the_newest(versions: Running, images: list[bytes]) -> None:
    wanted = {"net": "vwxyz", "net/10": "vwxyz", "net/9": "fghij", "net/2": "abcde", "tiny": LABELS, "tiny/1": LABELS}
    assert {name: labels_of(versions, name, images[0]) for name in wanted} == {
        name: set(labels) for name, labels in wanted.items()
    }
    for name, says in {
        "net/3": "net has no version '3'; it has 10, 9, 2",
        "net/09": "net has no version '09'; it has 10, 9, 2",
        "nothing/1": "there is no model 'nothing/1'; there are: net, tiny",
        "/": "there is no model '/'; there are: net, tiny",
        "net/": "there is no model 'net/'; there are: net, tiny",
    }.items():
        answer = versions.post(f"/classify?model={name}", content=images[0])
        assert (answer.status_code, answer.json()["error"]) == (404, says)


def test_the_versions_are_listed(versions: Running) -> None:
    get = versions.client.get
    listed = [(row["name"], row["version"]) for row in get("/models").json()]
    assert listed == [("net", "10"), ("net", "9"), ("net", "2"), ("tiny", "1")]
    assert get("/v2/models/net").json()["versions"] == ["2", "9", "10"]
    assert get("/v2/models/net_image/versions/9").json()["versions"] == ["2", "9", "10"]
    assert get("/v2/models/net/versions/9/ready").json() == {"name": "net", "ready": True}
    assert get("/v2/models/net/versions/1").status_code == 404
    assert get("/v2/models/net/config").json()["version_policy"] == {"all": {}}
    index = versions.post("/v2/repository/index").json()
    assert [(row["name"], row["version"]) for row in index if row["state"] == "READY"] == [
        (name, version) for version in ("2", "9", "10") for name in ("net", "net_image")
    ] + [("tiny", "1"), ("tiny_image", "1")]


@pytest.mark.parametrize("client", [http_client, grpc_client])
def test_the_protocol(versions: Running, images: list[bytes], client: Any) -> None:
    """An answer names the version that gave it, and statistics and metrics count it there."""

    def images_of(version: str) -> int:
        rows = versions.client.get("/v2/models/net_image/stats").json()["model_stats"]
        (row,) = (row for row in rows if row["version"] == version)
        assert versions.client.get(f"/v2/models/net_image/versions/{version}/stats").json()["model_stats"] == [row]
        return row["inference_count"]

    address = versions.address if client is http_client else versions.grpc_address
    with client.InferenceServerClient(address) as server:
        assert server.is_model_ready("net", "9")
        assert not server.is_model_ready("net", "3")
        best = [client.InferRequestedOutput("logits", class_count=1)]
        for asked, answered, labels in (("", "10", "vwxyz"), ("9", "9", "fghij"), ("2", "2", "abcde")):
            counted = f'torchless_images_total{{model="net",outcome="ok",version="{answered}"}}'
            before, done = versions.metric(counted), images_of(answered)
            answer = server.infer("net_image", [image_input(images[:1], client)], model_version=asked, outputs=best)
            response = answer.get_response()
            version = response["model_version"] if client is http_client else response.model_version
            assert version == answered
            assert np.ravel(answer.as_numpy("logits"))[0].decode()[-1] in labels
            assert (versions.metric(counted), images_of(answered)) == (before + 1, done + 1)
        with pytest.raises(InferenceServerException, match="net has no version '3'; it has 10, 9, 2"):
            server.infer("net_image", [image_input(images[:1], client)], model_version="3")


def test_what_torchless_repository_writes_is_served(tiny: Path, tmp_path: Path, images: list[bytes]) -> None:
    """The latest version by default; a load by request takes the next one, an unload all."""
    (repository := tmp_path / "repository").mkdir()
    write_repository([tiny], repository)
    with running(repository, allow_model_control=True) as server:
        assert server.client.get("/v2/models/tiny").json()["versions"] == ["1"]
        assert server.client.get("/v2/models/tiny/config").json()["version_policy"] == {"latest": {"num_versions": 1}}
        write_repository([relabelled(tiny, tmp_path / "tiny.onnx", "vwxyz")], repository)
        assert {"name": "tiny", "version": "2"} in server.post("/v2/repository/index").json()
        assert server.post("/v2/repository/models/tiny/load").status_code == 200
        assert server.client.get("/v2/models/tiny").json()["versions"] == ["2"]
        assert labels_of(server, "tiny", images[0]) == set("vwxyz")
        assert server.client.get("/v2/models/tiny/versions/1").status_code == 404
        assert server.post("/v2/repository/models/tiny_image/unload").status_code == 200
        assert server.client.get("/models").json() == []


def test_a_name_that_ends_as_those_of_images_do(tiny: Path, tmp_path: Path, images: list[bytes]) -> None:
    shutil.copy(tiny, tmp_path / "cat_image.onnx")
    with running(tmp_path, allow_model_control=True) as server:
        assert server.post("/v2/repository/models/cat_image/unload").status_code == 200
        for name in ("cat_image", "cat_image_image"):
            assert server.post(f"/v2/repository/models/{name}/load").status_code == 200
        assert labels_of(server, "cat_image", images[0]) == set(LABELS)


def test_the_command(command_line: Callable[..., tuple[int, str, str]], tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "net/1").mkdir(parents=True)
    code, _, err = command_line("torchless", "serve", tmp_path / "net", "--versions", "all")
    assert code == 2
    assert "there is no .onnx file in" in err
    code, _, err = command_line("torchless", "serve", tiny, "--poll-s", 1, "--allow-model-control")
    assert code == 2
    assert "--poll-s loads and unloads what changes, and would undo what requests do; choose it or --allow" in err
