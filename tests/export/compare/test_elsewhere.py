"""GPU times of another machine in the comparison of this one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from torchless.codec import encode
from torchless.doctor.machine import Machine
from torchless.errors import UsageError
from torchless.model.artifact import read_artifact, sha256_of
from torchless_export.compare.comparison import Comparison
from torchless_export.compare.measure import BATCH_SIZE, Sample
from torchless_export.compare.measurements import Measurements, Run
from torchless_export.compare.request import Request, Settings

Call = Callable[..., tuple[int, str, str]]
GPU_BOX = Machine(processor="EPYC", cpus=16, memory_gb=128, system="Linux x86_64", gpu="a big GPU")
SAMPLE = Sample(decode_ms=(3.0,), preprocess_ms=(2.0,), single_ms=(0.5, 0.7), batch_ms=(2.0,), peak_bytes=1)
QUICK = ("--rounds", 1, "--seconds", 0.01, "--threads", 1)


def run_of(model: str, sha256: str, **other: Any) -> Run:
    run = {"model": model, "sha256": sha256, "device": "cuda:0", "threads": 16, "seconds": 1.0}
    versions = {"onnxruntime": "1.31.1"}
    return run | {"batch_size": BATCH_SIZE, "machine": encode(GPU_BOX), "versions": versions} | other


def recorded(path: Path, *runs: Run, day: str = "2026-12-01", **about: Any) -> Path:
    kept = Measurements(path)
    for run in runs:
        kept.add(run, SAMPLE, day, about)
    return path


def test_one_page_of_a_cpu_box_and_a_gpu_box(command_line: Call, squeezenet: Path, tiny: Path, tmp_path: Path) -> None:
    """Found by the file's hash; the other model, which was not measured there, is named."""
    file = recorded(tmp_path / "gpu.json", run_of("squeezenet1_1", sha256_of(squeezenet)))
    out = tmp_path / "out"
    code, said, err = command_line("torchless", "compare", squeezenet, tiny, "-o", out, *QUICK, "--measurements", file)
    assert code == 0, err
    assert "GPU times measured on 2026-12-01 on another machine, EPYC, 16 processors" in said
    assert "a big GPU" in said
    assert "GPU times of tiny: not measured there" in said
    assert {"bubble-gpu.svg", "gpu-time.png"} <= {path.name for path in out.iterdir()}
    comparison = Comparison.from_dict(json.loads((out / "comparison.json").read_text()))
    assert comparison.machine.gpu is None
    assert comparison.elsewhere.machine == GPU_BOX
    assert [row.gpu and row.gpu.single.p50_ms for row in comparison.rows] == [0.6, None]
    assert comparison.rows[0].gpu.images_per_second == 1000 * BATCH_SIZE / 2.0
    page = (out / "report.html").read_text()
    assert "another machine, EPYC" in page
    assert "GPU times of tiny: not measured there" in page

    code, said, _ = command_line("torchless", "compare", squeezenet, tiny, "-o", out, *QUICK, "--device", "cpu")
    assert "No times on the GPU: not asked for." in said
    assert not (out / "bubble-gpu.svg").exists()


def joined(model: Path, file: Path, make: Callable[..., Comparison]) -> Comparison:
    from torchless_export.compare.elsewhere import join
    from torchless_export.compare.subjects import Subject

    artifact = read_artifact(model)
    name = artifact.manifest.model.name
    subject = Subject(
        name=name, path=model, manifest=artifact.manifest, size_bytes=artifact.size, sha256=sha256_of(model)
    )
    (row,) = make(("squeezenet1_1",)).rows
    return join(replace(make(("squeezenet1_1",)), rows=(replace(row, model=name),)), [subject], file)


def test_another_file_with_the_same_weights(squeezenet: Path, tmp_path: Path, make_comparison: Any) -> None:
    weights = read_artifact(squeezenet).manifest.model.state_sha256
    assert weights is not None
    file = recorded(tmp_path / "m.json", run_of("squeezenet1_1", "f" * 64), state_sha256=weights, trained=True)
    found = joined(squeezenet, file, make_comparison)
    assert found.rows[0].gpu is not None
    assert found.notes() == ()


def test_random_weights_may_differ_and_it_is_said(squeezenet: Path, tmp_path: Path, make_comparison: Any) -> None:
    file = recorded(tmp_path / "m.json", run_of("squeezenet1_1", "f" * 64), state_sha256="e" * 64, trained=False)
    found = joined(squeezenet, file, make_comparison)
    assert found.rows[0].gpu is not None
    assert found.notes() == (
        "GPU times of squeezenet1_1: measured there with other random weights, on which time does not depend",
    )


@pytest.mark.parametrize("about", [{}, {"trained": True, "state_sha256": "e" * 64}])
def test_another_file_with_other_weights_is_left_out_and_it_is_said(
    squeezenet: Path, tiny: Path, tmp_path: Path, make_comparison: Any, about: dict[str, Any]
) -> None:
    file = recorded(tmp_path / "m.json", run_of("squeezenet1_1", "f" * 64), **about)
    with pytest.raises(UsageError, match=r"none of these models: squeezenet1_1: left out: .* \(SHA-256 ffffffffffff…"):
        joined(squeezenet, file, make_comparison)


def test_the_machine_that_measured_last_counts(squeezenet: Path, tmp_path: Path, make_comparison: Any) -> None:
    sha256, old = sha256_of(squeezenet), replace(GPU_BOX, gpu="an old GPU")
    file = recorded(tmp_path / "m.json", run_of("squeezenet1_1", sha256), day="2026-12-02")
    kept = Measurements(file, json.loads(file.read_text())["runs"])
    kept.add(run_of("squeezenet1_1", sha256, machine=encode(old)), SAMPLE, "2026-12-01")
    assert joined(squeezenet, file, make_comparison).elsewhere.machine.gpu == "a big GPU"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file"),
        ("[]", "is not what compare writes as measurements; give the measurements.json"),
        ('{"rows": []}', "is not what compare writes as measurements"),
        ('{"torchless_measurements": 2, "runs": {}}', "another version of torchless; give the measurements.json"),
        ('{"torchless_measurements": 1, "runs": {}}', "has no times on a GPU"),
        ('{"torchless_measurements": 1, "runs": {"a": {"rounds": [1]}}}', "is damaged: 'of'; copy it again"),
        ('{"torchless_measurements": 1, "runs": {"a": 3}}', "is damaged"),
    ],
)
def test_a_file_that_will_not_do_is_refused_before_anything_is_measured(
    command_line: Call, tiny: Path, tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "given.json"
    if text is not None:
        file.write_text(text)
    code, _, err = command_line("torchless", "compare", tiny, "-o", tmp_path / "out", *QUICK, "--measurements", file)
    assert code == 2
    assert message in err
    assert "round 1" not in err


def test_a_gpu_here_and_one_elsewhere_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="`device` cuda asks for this one's"):
        Request(models=["resnet18"], measurements=Path("m.json"), settings=Settings(device="cuda"))
