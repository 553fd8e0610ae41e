"""make gpu-proof: all but the GPU. A trial on the CPU goes through every step, and leaves the pages alone."""

import importlib.metadata
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gpu_proof import uninstalled
from gpu_proof.record import Record, StepError, python
from gpu_proof.settings import ROOT, Settings, settings_for
from gpu_proof.steps import agreement, everything, set_up
from rendering import gpu
from torchless_export.compare.subjects import LATER, TUTORIAL

PAGE = ROOT / "docs" / "gpu.md"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_for("cpu", output=tmp_path / "out")


def on_card(settings: Settings) -> Settings:
    return replace(settings, device="cuda:0")


def left_alone() -> dict[Path, bytes]:
    """What only a GPU's figures may change."""
    return {path: path.read_bytes() for path in [*(ROOT / "figures" / "gpu").rglob("*.json"), PAGE]}


@pytest.mark.slow
def test_a_trial_on_the_cpu_goes_through_all_of_it(tmp_path: Path) -> None:
    before = left_alone()
    out = tmp_path / "out"
    peers = ("torchless", "torchless_fp16", "pytorch")
    command = [
        sys.executable, "-m", "gpu_proof", "--device", "cpu", "--output", out, "--models", "squeezenet1_1",
        "--peers", *peers, "--batches", "1", "2", "--seconds", "0.01",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    document = json.loads((out / "proof.json").read_text())
    assert document["failures"] == {}
    found = document["found"]
    assert {f"proof squeezenet1_1 {precision}" for precision in gpu.PRECISIONS} <= found.keys()
    assert found["proof squeezenet1_1 float32"]["passed"]
    for peer in peers:
        assert [row["batch"] for row in found[f"times squeezenet1_1 {peer}"]["times"]] == [1, 2]
    assert found["agreement squeezenet1_1"]["torchless"] < 1e-3
    assert all(row["wrong_answers"] == 0 and row["statuses"] for row in found["server squeezenet1_1"])
    page = (out / "gpu.md").read_text()
    assert "| squeezenet1_1 | passed | passed |" in page
    assert "Not measured" not in page
    assert (out / "throughput.svg").read_bytes().startswith(b"<?xml")
    assert (out / "compare" / "measurements.json").exists()
    assert left_alone() == before
    again = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "times" not in again.stderr


def test_figures_of_a_cpu_do_not_go_where_those_of_gpus_are() -> None:
    for folder in ("figures/gpu", "figures", "figures/compare/x"):
        with pytest.raises(SystemExit, match="is for figures of GPUs"):
            settings_for("cpu", output=ROOT / folder)
    assert settings_for("cuda").output == ROOT / "figures" / "gpu"
    assert set(settings_for("cuda").models) == set(TUTORIAL + LATER) | {"mobilenet_v3_large"}


def test_what_is_done_is_not_done_again_unless_something_else_was_measured(settings: Settings) -> None:
    calls: list[str] = []
    for wanted in (settings, settings, replace(settings, seconds=9.0)):
        record = Record(wanted)
        record.step("one", partial(calls.append, "one"))
        record.step("two", lambda: {"x": 1})
    assert calls == ["one", "one"]
    assert json.loads(record.path.read_text())["found"]["two"] == {"x": 1}


def test_a_step_that_fails_is_named_and_its_output_is_in_the_log(settings: Settings) -> None:
    record = Record(settings)
    code = "import sys; sys.stderr.write('first\\nno CUDA here\\n'); sys.exit(3)"
    record.step("bad", lambda: record.run([sys.executable, "-c", code]))
    record.step("missing", lambda: record.run(["/no/such/program"]))
    record.step("no json", lambda: record.json([sys.executable, "-c", "print('x')"]))
    record.step("good", lambda: record.json([sys.executable, "-c", "print(7)"]))
    failures = json.loads(record.path.read_text())["failures"]
    assert failures.keys() == {"bad", "missing", "no json"}
    assert failures["bad"] == "no CUDA here"
    assert "first\nno CUDA here\n" in settings.log.read_text()
    assert record.found["good"] == 7
    assert Record(settings).document["failures"] == {}  # tried again


def test_no_step_begins_when_the_time_is_up(settings: Settings) -> None:
    record = Record(replace(settings, minutes=0.0))
    record.step("late", lambda: pytest.fail("it began"))
    assert "the same command goes on" in record.document["failures"]["late"]


def test_a_damaged_file_is_not_overwritten(settings: Settings) -> None:
    Record(settings).path.write_text("{")
    with pytest.raises(SystemExit, match="is damaged; delete it"):
        Record(settings)


@pytest.mark.parametrize(("check", "ends"), [("GPU driver", True), ("CUDA libraries", True), ("Pillow", False)])
def test_without_a_usable_gpu_it_ends_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, check: str, ends: bool
) -> None:
    finding = {"check": check, "well": False, "message": "no driver", "fix": "install it"}
    record = Record(settings)
    monkeypatch.setattr(record, "json", lambda *_, **__: {"findings": [finding]})
    assert set_up(settings, record)["wrong"] == ["no driver"]  # a trial goes on
    if ends:
        with pytest.raises(SystemExit, match="no driver; mend it with: install it"):
            set_up(on_card(settings), record)
    else:
        assert not set_up(on_card(settings), record)["well"]


def test_a_model_that_cannot_be_exported_leaves_out_what_needs_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Record(replace(settings, models=("bad",), measured=("bad",)))

    def fails(*_: object, **__: object) -> Any:
        raise StepError("no")

    monkeypatch.setattr(record, "run", fails)
    monkeypatch.setattr(record, "json", fails)
    everything(replace(settings, models=("bad",), measured=("bad",)), record)
    assert record.document["failures"].keys() == {"set-up", "export bad"}


def test_a_peer_that_computes_something_else_is_found(settings: Settings) -> None:
    record = Record(settings)
    for peer, logits in {"pytorch": [0.0, 1.0], "torchless": [0.0, 1.0], "torchless_fp16": [0.1, 1.0]}.items():
        record.found[f"times m {peer}"] = {"logits": logits}
    assert agreement(settings, record, "m") == {"pytorch": 0, "torchless": 0, "torchless_fp16": 0.1}
    record.found["times m torchless"] = {"logits": [0.1, 1.0]}
    with pytest.raises(StepError, match="torchless does not compute what PyTorch does"):
        agreement(settings, record, "m")


def times_of(*rows: tuple[int, float]) -> dict[str, Any]:
    return {
        "times": [{"batch": batch, "p50_ms": ms, "p95_ms": ms} for batch, ms in rows],
        "gpu_mb": 900,
        "host_mb": 800,
    }


def document(**found: Any) -> dict[str, Any]:
    return {"date": "2026-12-01", "device": "cuda", "batches": [1, 128], "failures": {}, "found": found}


def test_goals() -> None:
    met = document(
        **{
            "times resnet50 torchless": times_of((1, 1.0)),
            "times resnet50 pytorch": times_of((1, 4.0)),
            "times resnet50 torchless_fp16": times_of((128, 20.0)),
            "times resnet50 pytorch_compile_autocast": times_of((128, 19.0)),
            "folder resnet50": {
                "cpus": 16, "decode": {"p50_ms": 3.0}, "preprocess": {"p50_ms": 1.0},
                "best": {"images_per_second": 3600.0},
            },
            "proof resnet50 float32": {"passed": True, "failed": []},
            "proof vit_b_16 float32": {"passed": False, "failed": ["logits"]},
        }
    )  # fmt: skip
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in gpu.goals(met).splitlines()[2:]]
    assert [row[1:] for row in rows] == [
        ["1 ms", "yes"],
        ["4 ×", "yes"],
        ["0.95 ×", "no"],
        ["0.9", "yes"],
        ["1 of 2", "no"],
    ]
    assert not gpu.all_proved(met)
    assert "FAILED: logits" in gpu.verdicts(met)
    assert "| resnet50 | torchless | 1.00 | – | 1,000 | 900 | 800 |" in gpu.times(met)
    assert "graphs" not in gpu.times(met)
    assert gpu.graphs(met) == "These figures have none: torchless no longer has CUDA graphs."


def test_cuda_graphs_of_the_first_figures_have_a_section_of_their_own() -> None:
    found = document(
        **{
            "times resnet50 torchless": times_of((1, 1.5), (128, 9.0)),
            "times resnet50 torchless_graphs": times_of((1, 1.0)),
            "times alexnet torchless": times_of((1, 4.0)),
        }
    ) | {"failures": {"times alexnet torchless_graphs": "CUDA failure 700", "fp16 alexnet": "no"}}
    assert gpu.graphs(found).splitlines()[2:] == [
        "| resnet50 | without | 1.50 | 9.00 |", "| resnet50 | with | 1.00 | – |", "", "- alexnet: CUDA failure 700",
    ]  # fmt: skip
    assert "torchless_graphs" not in gpu.times(found)
    assert "`torchless_fp16`, and the server below, were measured with CUDA graphs" in gpu.times(found)
    assert "resnet50, one image: at most 1.2 ms | 1.5 ms | no" in gpu.goals(found)


def test_the_page_says_what_was_not_measured() -> None:
    """As long as there are no figures."""
    assert "**Not measured yet**" in gpu.machine(gpu.NOTHING)
    assert {gpu.PARTS[name](gpu.NOTHING) for name in ("verdicts", "times", "throughput")} == {"Not measured yet."}
    assert [line.split("|")[2:4] for line in gpu.goals(gpu.NOTHING).splitlines()[2:]] == [[" – ", " not measured "]] * 5
    assert ("**Not measured yet**" in PAGE.read_text(encoding="utf-8")) != (ROOT / "figures/gpu/proof.json").exists()


def test_torchless_runs_where_it_is_not_installed(tmp_path: Path) -> None:
    uninstalled.write_metadata(tmp_path)
    (found,) = importlib.metadata.distributions(path=[str(tmp_path)])
    assert found.version == importlib.metadata.version("torchless")
    assert {(entry.group, entry.name, entry.value) for entry in found.entry_points} == {
        (entry.group, entry.name, entry.value) for entry in importlib.metadata.distribution("torchless").entry_points
    }
    assert python("torchless", "doctor")[1:] == ["-m", "torchless", "doctor"]
