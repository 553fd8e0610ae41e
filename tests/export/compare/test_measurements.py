"""Measuring: each model in a process of its own, round by round, and nothing twice."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torchless.doctor.machine import Machine
from torchless.errors import DeviceError, TorchlessError, UsageError
from torchless.model.artifact import read_artifact
from torchless_export.compare import rounds
from torchless_export.compare.comparison import Figures, make_comparison
from torchless_export.compare.measure import Sample, Task, measure_in_process
from torchless_export.compare.measurements import Measurements, open_measurements
from torchless_export.compare.request import Settings
from torchless_export.compare.subjects import Subject

SAMPLE = Sample(decode_ms=(3.0,), preprocess_ms=(2.0,), single_ms=(7.0, 8.0), batch_ms=(50.0,), peak_bytes=10**8)
DAY = "2026-11-25"
HERE = Machine(
    processor="x", revision="family 25, model 17", cpus=2, ghz=2.6, memory_gb=25, system="y", gpu=None,
    features=("avx2",),
)  # fmt: skip
QUICK = Settings(device="cpu", threads=1, rounds=2, seconds=0.01)


def subject(path: Path, name: str = "tiny", sha256: str = "a") -> Subject:
    return Subject(
        name=name, path=path, manifest=read_artifact(path).manifest, size_bytes=path.stat().st_size, sha256=sha256
    )


def measure_all(subjects: list[Subject], settings: Settings, kept: Measurements, **given: Any) -> rounds.Measured:
    return rounds.measure_all(subjects, settings, kept, **{"day": DAY} | given)


def test_a_model_in_a_process_of_its_own(tiny: Path) -> None:
    sample = measure_in_process(Task(model=str(tiny), device="cpu", threads=1, seconds=0.01))
    assert min(len(sample.single_ms), len(sample.decode_ms), len(sample.preprocess_ms)) >= 5
    assert len(sample.batch_ms) >= 3
    assert all(value > 0 for value in (*sample.single_ms, *sample.batch_ms, *sample.decode_ms, *sample.preprocess_ms))
    assert 20e6 < sample.peak_bytes < 200e6  # this process, which has torch in it, holds more


def test_what_that_process_says_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(TorchlessError, match=r"bad.onnx cannot be measured: .* is not an ONNX model"):
        measure_in_process(Task(model=str(tmp_path / "bad.onnx"), device="cpu", threads=1, seconds=0.01))


def test_a_gpu_that_is_not_there(tiny: Path) -> None:
    with pytest.raises(DeviceError, match="cannot use cuda:0"):
        measure_in_process(Task(model=str(tiny), device="cuda:0", threads=1, seconds=0.01))


def test_rounds_go_to_and_fro_and_an_interrupted_one_goes_on(tiny: Path, tmp_path: Path) -> None:
    subjects = [subject(tiny, name, sha256=name) for name in ("a", "b")]
    paths = {name: tmp_path / name for name in ("a", "b")}
    subjects = [Subject(**{**vars(item), "path": paths[item.name]}) for item in subjects]
    called: list[str] = []

    def measure(task: Task) -> Sample:
        if len(called) == 3:
            called.append("interrupted")
            raise KeyboardInterrupt
        called.append(Path(task.model).name)
        return SAMPLE

    with pytest.raises(KeyboardInterrupt):
        measure_all(subjects, QUICK, open_measurements(tmp_path / "m.json"), measure=measure)
    found = measure_all(subjects, QUICK, open_measurements(tmp_path / "m.json"), measure=measure)
    assert called == ["a", "b", "b", "interrupted", "a"]
    assert found.rounds == {("a", "cpu"): (SAMPLE, SAMPLE), ("b", "cpu"): (SAMPLE, SAMPLE)}
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "another file"},
        {"seconds": 0.02},
        {"versions": {"onnxruntime": "9"}},
        {"machine": replace(HERE, processor="z")},
        {"machine": replace(HERE, revision="family 25, model 1")},
        {"machine": replace(HERE, cpus=1)},
        {"machine": replace(HERE, ghz=2.5)},
        {"machine": replace(HERE, memory_gb=24)},
        {"machine": replace(HERE, features=("avx2", "avx512_vnni"))},
        {"machine": replace(HERE, features=None)},
    ],
)
def test_what_was_measured_otherwise_counts_not(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    calls: list[Task] = []

    def measure(task: Task) -> Sample:
        calls.append(task)
        return SAMPLE

    monkeypatch.setattr("torchless_export.compare.rounds.machine", lambda **_: HERE)
    kept = tmp_path / "m.json"
    measure_all([subject(tiny)], QUICK, open_measurements(kept), measure=measure)
    for name in ("versions", "machine"):
        if name in change:
            monkeypatch.setattr(f"torchless_export.compare.rounds.{name}", lambda *_, name=name, **__: change[name])
    settings = Settings(device="cpu", threads=1, rounds=2, seconds=change.get("seconds", 0.01))
    measure_all([subject(tiny, sha256=change.get("sha256", "a"))], settings, open_measurements(kept), measure=measure)
    assert len(calls) == 4
    assert len(json.loads(kept.read_text())["runs"]) == 2


def test_the_days_are_those_on_which_it_was_measured(tiny: Path, tmp_path: Path) -> None:
    days = ("2026-11-25", "2026-11-26", "2026-11-27")
    for day, count in zip(days, (1, 2, 2), strict=True):
        settings = Settings(device="cpu", threads=1, rounds=count, seconds=0.01)
        found = measure_all(
            [subject(tiny)], settings, open_measurements(tmp_path / "m.json"), day=day, measure=lambda _: SAMPLE
        )
    assert found.days == days[:2]
    figures = {"tiny": Figures(errors=None, no_errors=None, gflops=None)}
    assert make_comparison([subject(tiny)], found, figures, settings).date == "2026-11-25 to 2026-11-26"


def test_a_model_that_fails_is_left_out_and_the_others_go_on(tiny: Path, tmp_path: Path) -> None:
    calls: list[str] = []

    def measure(task: Task) -> Sample:
        calls.append(task.model)
        if task.model.endswith("bad"):
            raise TorchlessError("bad cannot be measured: its process was ended by signal 9 (out of memory?)")
        return SAMPLE

    bad = Subject(**{**vars(subject(tiny, "bad", "b")), "path": tmp_path / "bad"})
    lines: list[str] = []
    found = measure_all(
        [bad, subject(tiny)], QUICK, open_measurements(tmp_path / "m.json"), progress=lines.append, measure=measure
    )
    assert len(calls) == 3
    assert found.failures == {"bad": "bad cannot be measured: its process was ended by signal 9 (out of memory?)"}
    assert set(found.rounds) == {("tiny", "cpu")}
    assert (
        lines[0]
        == "round 1 of 2  bad  cpu  FAILED: bad cannot be measured: its process was ended by signal 9 (out of memory?)"
    )
    assert lines[1] == "round 1 of 2  tiny  cpu  7.5 ms"


def test_where_there_is_no_gpu_the_reason_is_kept(tiny: Path, tmp_path: Path) -> None:
    settings = Settings(rounds=1, seconds=0.01)
    found = measure_all([subject(tiny)], settings, open_measurements(tmp_path / "m.json"), measure=lambda _: SAMPLE)
    assert found.devices.gpu is None
    assert "NVIDIA" in found.devices.no_gpu or "onnxruntime" in found.devices.no_gpu
    with pytest.raises(DeviceError, match="cannot use cuda"):
        measure_all(
            [subject(tiny)], Settings(device="cuda"), open_measurements(tmp_path / "m.json"), measure=lambda _: SAMPLE
        )
    found = measure_all(
        [subject(tiny)], Settings(device="cpu"), open_measurements(tmp_path / "m.json"), measure=lambda _: SAMPLE
    )
    assert found.devices.no_gpu == "not asked for"


def test_both_devices_where_there_is_a_gpu_and_one_where_it_fails(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchless.engine.cuda.wheel_problem", lambda _: None)
    monkeypatch.setattr("torchless.engine.cuda.driver_problem", lambda _: None)
    monkeypatch.setattr("torchless.doctor.machine.shutil.which", lambda _: None)
    settings = Settings(rounds=1, seconds=0.01)
    found = measure_all([subject(tiny)], settings, open_measurements(tmp_path / "m.json"), measure=lambda _: SAMPLE)
    assert set(found.rounds) == {("tiny", "cpu"), ("tiny", "cuda:0")}
    assert found.machine.gpu == "unknown NVIDIA GPU"  # without nvidia-smi

    def measure(task: Task) -> Sample:
        if task.device != "cpu":
            raise DeviceError("libcudnn is missing")
        return SAMPLE

    found = measure_all([subject(tiny)], settings, open_measurements(tmp_path / "n.json"), measure=measure)
    assert (set(found.rounds), found.failures, found.devices.no_gpu) == ({("tiny", "cpu")}, {}, "libcudnn is missing")
    with pytest.raises(DeviceError, match="libcudnn"):
        measure_all([subject(tiny)], Settings(device="cuda"), open_measurements(tmp_path / "o.json"), measure=measure)


@pytest.mark.parametrize("text", ["[]", "{", '{"runs": {}}', '{"torchless_measurements": 99, "runs": {}}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(UsageError, match=r"m.json .*; delete it to measure again"):
        open_measurements(tmp_path / "m.json")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*m.json: No such file"):
        open_measurements(tmp_path / "gone" / "m.json").add({}, SAMPLE, DAY)


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"seconds": 0.0}, {"seconds": float("inf")}])
def test_settings_that_make_no_sense(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="rounds must be at least 1 and seconds above 0"):
        Settings(**settings)
