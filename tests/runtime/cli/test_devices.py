"""What the verbs say of a device: how much of a model it runs, and what it does to the numbers."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests import onnx_model
from tests.stand_in_driver import CudaInName

from torchless.doctor import gpu
from torchless.engine.options import ModelOptions
from torchless.model.manifest import Manifest
from torchless.model.onnxfile import HeldFiles, read_onnx
from torchless.ray.worker import Work
from torchless.serve.content import Content
from torchless.serve.settings import Settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def described(tiny: Path, tmp_path: Path) -> Callable[[str], ModelOptions]:
    """A function that describes the file tmp_path/plain.onnx as one of that precision, on the device cuda."""
    model = onnx_model.load(tiny)
    del model.metadata_props[:]
    onnx_model.save(model, tmp_path / "plain.onnx")

    def describe(precision: str) -> ModelOptions:
        manifest = Manifest.from_json(read_onnx(tiny).metadata[Manifest.KEY])
        return ModelOptions(device="cuda", manifest=replace(manifest, precision=precision, parity=None))

    return describe


def test_inspect_loads_the_model_where_it_is_told_to(command_line: Run, tiny: Path, on_cuda: type[CudaInName]) -> None:
    code, out, _ = command_line("torchless", "inspect", tiny, "--device", "cuda:1")
    assert code == 0
    assert re.fullmatch(r"device +cuda:1: all \d+ nodes", out.splitlines()[-1])
    found = json.loads(command_line("torchless", "inspect", tiny, "--device", "cpu", "--json")[1])
    assert found["device"] == {"used": "cpu", "nodes": "all nodes"}
    assert "device" not in json.loads(command_line("torchless", "inspect", tiny, "--json")[1])
    assert command_line("torchless", "inspect", tiny, "--device", "cuda:2")[0] == 4


def test_verify_names_the_device_with_its_nodes(command_line: Run, tiny: Path, on_cuda: type[CudaInName]) -> None:
    code, out, _ = command_line("torchless", "verify", tiny, "--device", "cuda,tf32")
    assert code == 0
    assert re.fullmatch(r"  on cuda:0,tf32 \(all \d+ nodes\), ONNX Runtime .*", out.splitlines()[-1])
    found = json.loads(command_line("torchless", "verify", tiny, "--device", "cuda", "--json")[1])
    assert (found["device"], found["assignment"].split()[0]) == ("cuda:0", "all")


def test_auto_uses_a_gpu_and_warns_of_what_is_left_to_the_cpu(
    command_line: Run, tiny: Path, photos: Path, on_cuda: type[CudaInName], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_cuda, "on_gpu", 2)
    code, _, err = command_line("infer", tiny, photos / "coffee.png", photos / "rocket.jpg")
    assert code == 0
    (told,) = [line for line in err.splitlines() if line.startswith("device: ")]
    assert re.search(r"^device: cuda:0.*; cuda:0 would compute 2 of \d+ nodes; the CPU computes the rest", told)
    code, _, err = command_line("infer", tiny, photos / "coffee.png", "--device", "cuda")
    assert (code, err.startswith("error: cannot use cuda: cuda:0 would compute 2 of")) == (4, True)


@pytest.mark.parametrize(("precision", "warned"), [("int8", True), ("fp16", False), ("fp32", False)])
def test_int8_on_cuda_is_computed_in_float(
    tmp_path: Path, described: Callable[[str], ModelOptions], on_cuda: type[CudaInName], precision: str, warned: bool
) -> None:
    _, warnings = described(precision).open_with_warnings(tmp_path / "plain.onnx")
    assert any("plain.onnx is int8, which CUDA computes in float" in warning for warning in warnings) == warned
    _, warnings = replace(described(precision), device="cpu").open_with_warnings(tmp_path / "plain.onnx")
    assert not any("CUDA" in warning for warning in warnings)


def test_serve_bounds_the_memory_of_a_gpu(command_line: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("torchless.serve.start.serve", lambda settings: seen.append(settings.opening))
    command_line("torchless", "serve", tiny, "--max-gpu-mb", "2000", "--device", "cuda")
    assert [opening.max_gpu_bytes for opening in seen] == [2_000_000_000]
    monkeypatch.undo()
    of_a_process_on_the_cpu = Content(0, "tiny", tiny, 1, HeldFiles(tiny.read_bytes()))
    assert of_a_process_on_the_cpu.open(Settings(models=(tiny,), opening=seen[0])).classifier.device == "cpu"
    code, _, err = command_line("torchless", "serve", tiny, "--max-gpu-mb", "2000", "--device", "cpu", "--port", "0")
    assert (code, "`max_gpu_bytes`" in err, "--max-gpu-mb" in err) == (2, False, True)


class TestDoctor:
    def test_a_gpu_that_runs_the_model(self, tiny: Path, tmp_path: Path, on_cuda: type[CudaInName], no_missing) -> None:
        (found,) = gpu.gpu_findings(tiny)
        assert found.is_well
        assert re.fullmatch(
            r"cuda:0 runs tiny.onnx, all \d+ nodes; NVIDIA H100, compute capability 9.0; its driver runs CUDA up to "
            "13.0, the wheel is built for 13.0",
            found.message,
        )
        (tmp_path / "broken.onnx").write_bytes(b"nothing")
        (found,) = gpu.gpu_findings(tmp_path / "broken.onnx")  # which is the model's fault
        assert found.message.startswith("cuda:0 runs a model, all 1 nodes")

    def test_a_gpu_that_leaves_the_model_to_the_cpu(
        self, tiny: Path, on_cuda: type[CudaInName], no_missing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(on_cuda, "on_gpu", 2)
        (found,) = gpu.gpu_findings(tiny)
        assert (found.exit_code, "would compute 2 of" in found.message) == (4, True)

    def test_a_driver_too_old_for_the_wheel(
        self, on_cuda: type[CudaInName], nvidia_driver: Callable[..., None]
    ) -> None:
        nvidia_driver("NVIDIA H100/9.0", cuda="12.4")
        (found,) = gpu.gpu_findings()
        assert (found.check, found.exit_code) == ("GPU driver", 4)
        assert "the NVIDIA driver runs CUDA up to 12.4" in found.message
        assert found.fix.endswith("-m pip install 'torchless[gpu-cuda12]'")
        nvidia_driver("NVIDIA H100/9.0", cuda="11.8")
        (found,) = gpu.gpu_findings()
        assert found.fix.endswith("-m pip install 'torchless[cpu]'")

    def test_a_gpu_beside_the_build_for_cpus(self, nvidia_driver: Callable[..., None]) -> None:
        nvidia_driver("Tesla V100/7.0")
        (found,) = gpu.gpu_findings()
        assert found.is_well
        assert "though there is an NVIDIA driver: torchless[gpu-cuda12] has the build that uses it" in found.message

    @pytest.fixture
    def no_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "missing_libraries", lambda provider: [])


@pytest.mark.parametrize(("device", "gpus"), [("cuda:1", 1), ("tensorrt", 1), ("migraphx", 1), ("openvino:gpu", 0)])
def test_ray_counts_gpus(device: str, gpus: int) -> None:
    work = Work(model="m", folder="", format="", top_k=None, batch_size=1, opening=ModelOptions(device=device))
    assert work.gpus == gpus
