"""tools/real.py and its page: what is said of the real networks follows from their answers."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPO

import crops
import real
import real_networks
from real_answers import Answer, agreement
from rendering import real as page
from torchless.evaluate.dataset import read_dataset
from torchless_export.sources.catalog import imagenet_labels

FIGURES: dict[str, Any] = json.loads((REPO / "figures" / "real" / "answers.json").read_text(encoding="utf-8"))


def test_the_photos_are_20_of_imagenet_with_their_classes(tmp_path: Path) -> None:
    photos = real_networks.write_photos(tmp_path)
    dataset = read_dataset(tmp_path / "photos.csv", labels=imagenet_labels())
    assert [example.target for example in dataset] == [real_networks.class_of(photo) for photo in photos]
    assert len(dataset) == 20
    assert dataset.labels[real_networks.class_of(tmp_path / "imagenet_03_990.jpg")] == "buckeye"


def test_agreement_counts_photos_and_finds_the_furthest_probability() -> None:
    wanted = {"a": Answer((1, 2), (0.7, 0.2)), "b": Answer((3, 4), (0.6, 0.3)), "c": Answer((5, 6), (0.5, 0.4))}
    found = wanted | {"b": Answer((4, 3), (0.5, 0.6)), "c": Answer((5, 7), (0.49, 0.4))}
    assert agreement(found, wanted) == {"images": 3, "top1": 2, "top5": 1, "probability": pytest.approx(0.2)}
    assert agreement(wanted, wanted) == {"images": 3, "top1": 3, "top5": 3, "probability": 0}
    with pytest.raises(ValueError, match=r"not answers to the same photos: \['c'\]"):
        agreement({name: wanted[name] for name in "ab"}, wanted)


def test_what_quantize_refuses_is_kept_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "[ 1.0 s] trying\nerror: it decides otherwise:\n  decision   FAILED  0.102  ≤ 0.05  89.8 % agree"
    program = f"import sys; print({said!r}, file=sys.stderr); sys.exit(5)"
    monkeypatch.setattr(real, "FOLDER", tmp_path)
    monkeypatch.setattr(real, "TORCHLESS", (sys.executable, "-c", program))
    (tmp_path / "crops").mkdir()
    (tmp_path / "a.int8.onnx").touch()  # of an earlier run
    real.quantise("a")
    assert real.int8_row("a") == {"refused": {"exit_code": 5, "said": "it decides otherwise; decision: 89.8 % agree"}}
    assert not (tmp_path / "a.int8.onnx").exists()
    text = page.int8({**FIGURES, "networks": [{"model": "a", **real.int8_row("a")}]})
    assert text.startswith(
        "- **a**: refused (exit code 5): it decides otherwise; decision: 89.8 % agree\n\nMeasured on "
    )
    assert page.int8(page.NOT_YET) == "Not measured yet: `make real ARGS=int8`."


def test_an_int8_file_stands_beside_its_float32_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    share = {"value": 0.35, "low": 0.18, "high": 0.57}
    agreement = {
        "images": 20,
        "same_answer": {"value": 0.95},
        "only_first_right": 0,
        "only_second_right": 1,
        "p_value": 1,
    }
    evaluation = {"images": 20, "top1_error": share, "top5_error": share, "against": {"agreement": agreement}}
    manifest = json.loads((REPO / "figures" / "quantize" / "efficientnet_lite0.json").read_text())
    monkeypatch.setattr(real, "FOLDER", tmp_path)
    monkeypatch.setattr(real, "evaluate", lambda *arguments: evaluation)
    monkeypatch.setattr(real, "torchless", lambda *arguments: json.dumps({"manifest": manifest}))
    found = real.int8_row("a")
    decision = next(check for check in manifest["parity"]["checks"] if check["name"] == "decision")
    assert found["crops"] == {"images": manifest["parity"]["images"], "agreement": 1 - decision["figure"]}
    line = page.int8({**FIGURES, "networks": [{"model": "a", **found}]}).splitlines()[2]
    assert line.startswith(
        f"| a | {100 * (1 - decision['figure']):.1f} % of 440 | 19 of 20 | 1 | 0 | 1 | 35 (18–57) | "
    )


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(SystemExit, match="int9: there are export, answers, compare, int8"):
        real.main("int9")


def test_every_way_gave_pytorchs_answers_to_every_photo() -> None:
    assert [row["model"] for row in FIGURES["networks"]] == list(real_networks.NAMES)
    for row in FIGURES["networks"]:
        assert len(row["ways"]) == 5
        for way in row["ways"].values():
            assert (way["top1"], way["top5"], way["images"]) == (20, 20, 20)
            assert way["probability"] < 1e-4
        errors = [round(20 * (1 - row["errors"][f"{best}_error"]["value"])) for best in ("top1", "top5")]
        assert errors == [row["pytorch"]["top1_right"], row["pytorch"]["top5_right"]]
        given = [row["answers"][photo["image"]] == photo["class"] for photo in FIGURES["photos"]]
        assert sum(given) == row["pytorch"]["top1_right"]
        low, high = (100 * row["errors"]["top1_error"][end] for end in ("low", "high"))
        assert low < row["published"]["top1"] < high  # as docs/real.md says
        assert row["published"] == vars(real_networks.published_errors(row["model"]))


def test_the_page_marks_right_answers_and_names_the_others() -> None:
    lines = page.photos(FIGURES).splitlines()[2:]
    right = [sum(line.split(" | ")[column].strip("| ") == "✓" for line in lines) for column in range(1, 5)]
    assert right == [row["pytorch"]["top1_right"] for row in FIGURES["networks"]]
    assert not [line for line in lines if re.search(r"\| \|", line)]


def test_crops_are_not_begun_without_the_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops, "find_spec", lambda package: None if package == "matplotlib" else object())
    with pytest.raises(
        SystemExit, match=r"not installed: matplotlib; pip install scikit-image scikit-learn matplotlib"
    ):
        crops.main(str(tmp_path / "crops"))
    assert not (tmp_path / "crops").exists()
