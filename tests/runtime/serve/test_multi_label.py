"""Multi-label and binary models, served: the rows say what infer says, and the page shows it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.runtime.serve.conftest import PHOTOS, running

from torchless.engine.classifier import Classifier
from torchless.serve.settings import Settings
from torchless.triton.repository import write_repository

if TYPE_CHECKING:
    from playwright.sync_api import Page

TYPE = {"content-type": "application/octet-stream"}


def test_it_answers_what_infer_answers(
    multi_label: Path, binary: Path, photos: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    path = photos / PHOTOS[0]
    with running(multi_label, binary) as server:
        for model in (multi_label, binary):
            _, out, _ = command_line("infer", model, path, "--format", "jsonl", "--device", "cpu")
            row = server.post(f"/classify?model={model.stem}", content=path.read_bytes(), headers=TYPE).json()
            assert row == json.loads(out) | {"image": None}
        described = {model["name"]: model["multi_label"] for model in server.client.get("/models").json()}
        assert described == {"multi": True, "binary": False}
        broken = server.post("/classify?model=multi", content=b"x", headers=TYPE).json()
        assert broken["multi_label"] is True


def test_the_operators_threshold_and_top_k_are_kept(multi_label: Path, photos: Path) -> None:
    image = (photos / "rocket.jpg").read_bytes()  # probabilities .998, .777, .855, .99999, .9999
    with running(multi_label, opening=replace(Settings.opening, threshold=0.99)) as server:
        rows = [server.post(f"/classify{query}", content=image, headers=TYPE).json() for query in ("", "?top_k=2")]
    assert [[each["label"] for each in row["predictions"]] for row in rows] == [
        ["three", "four", "zero"],
        ["three", "four"],
    ]
    assert {each["threshold"] for each in rows[0]["predictions"]} == {0.99}


def test_the_protocol_names_the_class_of_a_single_output(binary: Path, photos: Path, tmp_path: Path) -> None:
    logit = float(Classifier(binary, device="cpu").logits([photos / "rocket.jpg"])[0, 0])
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 0}}
    content = (photos / "rocket.jpg").read_bytes()
    image["parameters"] = {"binary_data_size": len(content) + 4}
    outputs = [{"name": "logits", "parameters": {"classification": 2}}]
    head = json.dumps({"inputs": [image], "outputs": outputs}).encode()
    body = head + len(content).to_bytes(4, "little") + content
    with running(binary) as server:
        shape = server.client.get("/v2/models/binary").json()["outputs"][0]["shape"]
        answer = server.post(
            "/v2/models/binary_image/infer", content=body, headers={"inference-header-content-length": str(len(head))}
        ).json()
    assert shape == [-1, 1]
    assert answer["outputs"][0]["data"] == [f"{logit:f}:0:defect"]
    write_repository([binary], tmp_path / "repository")
    assert (tmp_path / "repository" / "binary" / "labels.txt").read_text() == "defect\n"


def test_the_page_says_what_it_lists(multi_label: Path, photos: Path, open_page: Callable[..., "Page"]) -> None:
    from playwright.sync_api import expect

    for threshold, text in ((0.99, "Each of these classes reaches its threshold."), (0.999999, "No class reaches")):
        with running(multi_label, opening=replace(Settings.opening, threshold=threshold)) as server:
            page = open_page(
                f"http://{server.address}/", own=(f"http://{server.address}", f"blob:http://{server.address}")
            )
            page.set_input_files("#files", photos / "rocket.jpg")
            expect(page.locator(".rule")).to_contain_text(text)
            if threshold > 0.999:
                expect(page.locator(".rule")).to_contain_text("the nearest is three, 99.99 % of 99.99 %.")
