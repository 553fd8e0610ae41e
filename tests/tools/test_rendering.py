"""tools/rendering: what is said of figures follows from them, and they are of what the pages promise."""

import json
import re
from typing import Any

import pytest
from tests.conftest import REPO

from rendering import compare, goals, licences, parity, performance, quantize, scaling, serving, tuning, zoo
from torchless.model.manifest import Pace
from torchless_export.compare.comparison import Comparison, speed_of
from torchless_export.compare.measure import Sample
from torchless_export.compare.measurements import open_measurements
from torchless_export.compare.subjects import LATER, TUTORIAL
from torchless_export.compare.text import candidates
from torchless_export.gate.limits import MAX_UNITS
from torchless_export.reduce.pace import pays
from torchless_export.sources.catalog import model_names


def figures(name: str) -> Any:
    return json.loads((REPO / "figures" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return Comparison.from_dict(figures("compare/comparison"))


def test_the_models_compared_are_those_of_the_tutorial_and_later_ones(comparison: Comparison) -> None:
    assert {row.model for row in comparison.rows} == set(TUTORIAL + LATER)
    assert not comparison.failures


def test_the_committed_figures_are_those_of_the_committed_measurements(comparison: Comparison) -> None:
    runs = open_measurements(REPO / "figures" / "compare" / "measurements.json").runs.values()
    samples = {run["of"]["model"]: tuple(Sample(**sample) for sample in run["rounds"]) for run in runs}
    for row in comparison.rows:
        again = speed_of(samples[row.model])
        assert again is not None
        assert row.cpu.single == again.single
        assert (row.cpu.low_ms, row.cpu.high_ms, row.cpu.rounds) == (again.low_ms, again.high_ms, comparison.rounds)
        assert row.cpu.images_per_second == pytest.approx(again.images_per_second)


def test_the_first_weights_are_what_torchvision_publishes(comparison: Comparison) -> None:
    _, choices = candidates(comparison)
    resnet50 = next(candidate for candidate in choices if candidate.name == "resnet50")
    assert compare._with_first_weights(resnet50).acc1 == 76.13
    assert resnet50.acc1 == pytest.approx(80.858)


def test_a_verdict_on_the_tutorial_is_no_more_than_its_cases() -> None:
    cases = ([True, True], [False, False], [True, False, True])
    assert [compare._verdict(case) for case in cases] == ["holds", "no longer", "in 2 of 3 cases"]


def test_the_sbom_lists_what_runs_in_the_tested_versions() -> None:
    sbom = json.loads((REPO / "docs" / "sbom.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (REPO / "constraints.txt").read_text(), re.MULTILINE))
    versions = {one["name"]: one["version"] for one in licences.packages(sbom)}
    assert versions == {name: pinned.get(name) or pinned[name.replace("_", "-")] for name in versions}
    assert {"numpy", "pillow", "typer", "onnxruntime", "starlette", "pyarrow", "fsspec", "cryptography"} <= set(
        versions
    )
    assert {"grpcio", "pillow_heif"} <= set(versions)
    assert not {"torch", "torchvision", "pip"} & set(versions)


def test_a_licence_is_told_however_it_is_declared() -> None:
    def told(*licenses: dict) -> str:
        return licences.licence({"licenses": licenses})

    assert told({"expression": "MIT"}, {"license": {"name": "the text"}}) == "MIT"
    assert (
        told({"license": {"id": "ISC"}}, {"license": {"name": "License :: OSI Approved :: Apache Software License"}})
        == "ISC, Apache Software License"
    )
    assert told({"license": {"name": "x" * 61}}) == "its own"
    assert told() == "not declared"


def test_the_worst_network_is_named_with_its_distance_from_the_limit() -> None:
    worst, *others = parity.measured_in_units(figures("zoo"))
    assert worst["units"] == max(row["units"] for row in [worst, *others]) < MAX_UNITS
    text = parity.calibration(figures("zoo"), figures("seeds"))
    assert f"the worst {worst['units']:.2f}" in text
    assert worst["model"] in text
    assert "20 of 20 exports of mobilenet_v3_small with other seeds pass" in text


def test_every_model_and_peer_that_the_page_names_was_measured() -> None:
    rows = figures("bench")["forward"]["found"]
    assert len(performance.by_model(rows)) == 12
    assert {row["peer"] for row in rows} == set(performance.NAMES) - {"torchless_fast"}


def test_the_means_are_geometric() -> None:
    assert performance.geometric_mean([1, 4]) == pytest.approx(2)
    rows = [{"model": "a", "peer": peer, "p50_ms": ms} for peer, ms in (("pytorch", 6), ("torchless", 2))]
    assert performance.ratios(rows, "pytorch") == {"a": 3}


@pytest.mark.parametrize("name", quantize.NAMES)
def test_the_int8_files_passed_the_gate_and_pay(name: str) -> None:
    found = figures(f"quantize/{name}")
    assert found["parity"]["passed"]
    assert pays(Pace(**found["reduction"]["pace"]))


def test_the_price_is_a_parameter() -> None:
    ray = figures("ray")["throughput"]
    found = [scaling.costs(ray, {"processor_hour_dollars": price}) for price in (0.05, 0.1)]
    assert found[0] != found[1]


def test_the_start_of_the_program_counts_with_and_without_ray() -> None:
    rows = [
        {"case": f"{name}, 2 workers", "start_s": start, "seconds": start + 9}
        for name, start in (("local", 1), ("Ray", 6))
    ]
    machine = {"processor": "x", "cpus": 2, "memory_gb": 1, "system": "y", "gpu": None, "features": []}
    model = {
        "model": "a",
        "images": 901,
        "rounds": 2,
        "ray": "2",
        "date": "2026-11-26",
        "machine": machine,
        "found": rows,
    }
    local, ray = (line.split(" | ")[2:] for line in scaling.throughput([model]).splitlines()[2:4])
    assert local == ["1.0 s", "10.0 s", "90", "100 |"]
    assert ray == ["6.0 s", "15.0 s", "60", "100 |"]
    assert [scaling.seconds_of(model, row, 1_000_001) for row in rows] == [10_001, 10_006]
    assert scaling.processor_hours(model, rows[1], 1_000_001) == pytest.approx(20_012 / 3600)
    assert "10,001 s | 5.56 | $0.556 |" in scaling.costs([model], {"processor_hour_dollars": 0.1})


def test_every_server_that_the_page_names_was_measured() -> None:
    for found in figures("serve")["models"]:
        servers, clients = ({row[what] for row in found["servers"]} for what in ("server", "clients"))
        assert servers | set(serving.OWN) == set(serving.NAMES)
        assert "torchless" in servers
        assert clients >= {1, 32, 128}
        assert len(found["servers"]) == len(servers) * len(clients)


def test_the_zoo_leaves_no_model_out() -> None:
    rows = figures("zoo")["models"]
    assert [row["model"] for row in rows] == model_names()
    assert all(row["passed"] for row in rows)  # as the README says


def test_a_failure_in_the_zoo_is_shown_with_its_cause() -> None:
    row = {
        "model": "resnet18",
        "passed": False,
        "exit_code": 5,
        "error": "logits_photos FAILED",
        "seconds": 2.0,
        "peak_memory_mb": 1000,
    }
    results = {"date": "2026-11-26", "machine": None, "versions": {}, "models": [row]}
    text = zoo.models(results)
    assert "0 of 1 torchvision classifiers pass the gate" in zoo.count(results)
    assert "| resnet18 | **failed**, exit code 5 |" in text
    assert "logits_photos FAILED" in text


def test_a_goal_without_a_figure_is_named_all_the_same() -> None:
    cold = figures("bench")["cold_start"] | {
        "found": [
            {"model": "resnet18", "case": case, "p50_s": time} for case, time in (("torchless", 3), ("onnxruntime", 2))
        ]
    }
    lines = {
        line.split(" | ")[0]: line for line in goals.table_of_goals({"cold_start": cold}, figures("serve")).splitlines()
    }
    assert lines["| cold start, of the short script's: small networks"].endswith("| ≤ 1.10 × | 1.50 × (resnet18) |")
    assert lines["| … large ones"].endswith("| not measured yet |")  # the section has no such case
    assert lines["| installed size, of PyTorch's"].endswith("| not measured yet |")  # no such section


def test_a_goal_may_come_from_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        goals, "GOALS", (goals.Goal("the server", "≥ 1", ("serve",), lambda file: f"{file['rate']:.1f}"),)
    )
    file = figures("serve") | {"rate": 2}
    assert "| the server | ≥ 1 | 2.0 |" in goals.table_of_goals({}, file)


def test_options_are_judged_by_more_than_the_noise_of_the_rounds() -> None:
    times = {"onnxruntime": 10.0, "extended": 10.2, "basic": 12.0, "affinity": 9.0}
    rows = [{"model": "a", "peer": peer, "p50_ms": time, "cpu_ms": 2 * time} for peer, time in times.items()]
    rows.append({"model": "a", "peer": "openvino_plugin", "unavailable": "not on this processor"})
    said = {line.split(" | ")[0]: line.split(" | ")[-1].rstrip(" |") for line in tuning.tried(rows).splitlines()}
    assert said[f"| {tuning.TRIED['extended']}"] == "no difference"
    assert said[f"| {tuning.TRIED['basic']}"] == "slower"
    assert said[f"| {tuning.TRIED['affinity']}"] == "faster"
    assert said[f"| {tuning.TRIED['openvino_plugin']}"] == "not on this processor"
    assert "| basic | 1.20 (1.20) |" in tuning.options(rows)
    assert "| openvino_plugin | not on this processor |" in tuning.options(rows)


def test_more_processors_are_compared_with_one() -> None:
    keys = "folder_images_per_second", "server_requests_per_second", "one_image_ms"
    rows = [
        {"model": "a", "processors": count} | dict(zip(keys, values, strict=True))
        for count, values in ((1, (10, 8, 4)), (2, (19, 12, 2)))
    ]
    assert "| a | 2 | 19.0 (1.90 ×) | 12.0 (1.50 ×) | 2.00 (2.00 ×) |" in tuning.cores(rows)
