import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tests import onnx_model
from tests.stand_in_driver import CudaInName

from torchless.cpus import available_cpus
from torchless.engine import cuda
from torchless.engine.assignment import Assignment
from torchless.engine.classifier import Classifier
from torchless.engine.session import SessionAhead, open_session, thread_count
from torchless.errors import (
    ArtifactDamagedError,
    ArtifactNotFoundError,
    DeviceError,
    InferenceError,
    MissingDependencyError,
    UsageError,
)
from torchless.model.onnxfile import HeldFiles, read_onnx


@pytest.mark.parametrize("reported", [None, "0"])
def test_onnx_runtime_reports_nothing_to_its_makers_unless_it_is_told_to(tmp_path: Path, reported: str | None) -> None:
    """What reports keeps a number for this session in the temp folder; in CI, which it knows by variables, never."""
    code = "from torchless.engine.loading import import_onnxruntime; import_onnxruntime()"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    environment |= {"ORT_DISABLE_TELEMETRY": reported} if reported else {}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ([".ses"] if reported else [])


def test_threads_are_never_more_than_the_processors() -> None:
    assert thread_count(None) == available_cpus()
    assert thread_count(1) == 1
    assert thread_count(10_000) == available_cpus()
    with pytest.raises(UsageError, match="at least 1"):
        thread_count(0)


def test_the_session_gets_the_threads(tiny: Path) -> None:
    opened = open_session(read_onnx(tiny), device="cpu", threads=1)
    assert opened.onnx.get_session_options().intra_op_num_threads == 1
    assert (opened.device, opened.threads) == ("cpu", 1)


def test_a_model_that_looks_like_one_of_onnx_runtimes_own_format_is_not_read_as_such(
    tiny: Path, tmp_path: Path
) -> None:
    """The word at its fifth byte makes ONNX Runtime take bytes for its own format, which nobody here has checked."""
    model = onnx_model.load(tiny)
    model.ClearField("ir_version")
    content = b"\x08\x0a\x12\x04ORTM" + model.SerializeToString()
    file = read_onnx(tmp_path / "polyglot.onnx", held=HeldFiles(content))
    assert open_session(file, device="cpu").onnx.get_outputs()[0].name == "logits"


def test_without_onnxruntime_both_extras_are_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'torchless\[cpu\]' or, .*'torchless\[gpu\]'"):
        open_session(read_onnx(tiny))


def test_cuda_with_the_wheel_for_cpus(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(cuda, "driver_problem", lambda index: None)
    with pytest.raises(
        DeviceError, match=r"cannot use cuda: the installed onnxruntime .* is the build for CPUs.*torchless\[gpu\]"
    ):
        open_session(read_onnx(tiny), device="cuda")
    assert open_session(read_onnx(tiny), device="auto").note == ""


def test_a_provider_that_is_listed_but_does_not_load(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    """What onnxruntime-gpu does without CUDA's libraries: it makes the session all the same, on the CPU. tests/install
    has the real wheel.
    """
    real = onnxruntime.InferenceSession

    def silently_on_cpu(path: str, options: object, providers: list, **more: object) -> onnxruntime.InferenceSession:
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", silently_on_cpu)
    monkeypatch.setattr(cuda, "driver_problem", lambda index: None)
    monkeypatch.setattr(cuda, "load_libraries", lambda ort: "Failed to load libcublas.so.13")
    with pytest.raises(
        DeviceError, match=r"cannot use cuda:1: .*did not load.*libcublas.so.13.*pip install 'torchless\[gpu\]'"
    ):
        open_session(read_onnx(tiny), device="cuda:1")
    session = open_session(read_onnx(tiny), device="auto")
    assert session.device == "cpu"
    assert "libcublas" in session.note


def test_a_graph_that_onnxruntime_refuses(changed) -> None:
    path = changed(lambda model: setattr(model, "ir_version", 99))
    with pytest.raises(
        ArtifactDamagedError, match=r"ONNX Runtime .* cannot load .*changed.onnx: .*IR version.*pip install --upgrade"
    ):
        open_session(read_onnx(path), device="cpu")


def test_an_input_that_onnxruntime_refuses(tiny: Path) -> None:
    with pytest.raises(InferenceError, match=r"ONNX Runtime failed to run .*tiny.onnx"):
        open_session(read_onnx(tiny), device="cpu").run(np.zeros((1, 3, 7, 7), np.float32), "input", "logits")


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver answers and the CUDA provider is listed; what the session does is each test's."""
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(cuda, "driver_problem", lambda index: None)
    monkeypatch.setattr(cuda, "load_libraries", lambda ort: "")


def test_a_session_that_really_runs_on_cuda(tiny: Path, on_cuda: type[CudaInName]) -> None:
    session = open_session(read_onnx(tiny), device="cuda:1", max_gpu_bytes=2 * 10**9)
    assert (session.device, session.note) == ("cuda:1", "")
    assert session.assignment.total > 3
    assert str(session.assignment) == f"all {session.assignment.total} nodes"
    assert session.onnx.more == {"enable_fallback": 0}
    name, options = session.onnx.asked[0]
    assert (name, options["device_id"], options["use_tf32"]) == ("CUDAExecutionProvider", "1", "0")
    assert options["gpu_mem_limit"] == "2000000000"
    with_tf32 = open_session(read_onnx(tiny), device="cuda,tf32")
    assert (with_tf32.device, with_tf32.onnx.asked[0][1]["use_tf32"]) == ("cuda:0,tf32", "1")
    assert "gpu_mem_limit" not in with_tf32.onnx.asked[0][1]


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "profiled"])
def test_a_session_on_cuda_whose_nodes_are_on_the_cpu(
    tiny: Path, on_cuda: type[CudaInName], monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    """What ONNX Runtime does not call a failure: the GPU is asked for, the session is made, and the CPU computes."""
    monkeypatch.setattr(on_cuda, "on_gpu", 1 if recorded else 0)
    if not recorded:  # before ONNX Runtime 1.24
        monkeypatch.delattr(on_cuda, "get_provider_graph_assignment_info")
        monkeypatch.delattr(on_cuda.__mro__[2], "get_provider_graph_assignment_info")
    wanted = (
        rf"cuda:0 would compute {on_cuda.on_gpu} of \d+ nodes; the CPU computes the rest "
        r"\(\d+ of them on the image: .*Conv.*\)"
    )
    with pytest.raises(DeviceError, match=f"cannot use cuda: {wanted}"):
        open_session(read_onnx(tiny), device="cuda")
    session = open_session(read_onnx(tiny), device="auto")
    assert session.device == "cuda:0"
    assert re.fullmatch(wanted, session.note)


def test_arithmetic_on_shapes_belongs_on_the_cpu() -> None:
    assert str(Assignment(79, 138, ())) == "79 of 217 nodes, the CPU those for shapes alone"


@pytest.mark.parametrize("device", ["cpu", "openvino", "tensorrt"])
def test_a_bound_on_gpu_memory_is_for_cuda(tiny: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"`max_gpu_bytes` bounds .* and `device` asks for {device}"):
        open_session(read_onnx(tiny), device=device, max_gpu_bytes=10**9)


def test_a_gpu_that_fails_while_the_session_is_made(
    tiny: Path, gpu_build: None, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """ONNX Runtime's own fallback would print a banner on stdout, among the results, and continue with the CPU."""
    real = onnxruntime.InferenceSession._create_inference_session

    def create(self: object, providers: list, *arguments: object) -> object:
        if "CUDAExecutionProvider" in str(providers):
            raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version\nmore")
        return real(self, providers, *arguments)

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", create)
    with pytest.raises(
        DeviceError, match=r"cannot use cuda: ONNX Runtime cannot use the GPU: CUDA failure 35: .* runtime version$"
    ):
        open_session(read_onnx(tiny), device="cuda")
    session = open_session(read_onnx(tiny), device="auto")
    assert (session.device, session.onnx._enable_fallback) == ("cpu", False)
    assert "driver version is insufficient" in session.note
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_damaged_file_is_not_the_gpus_fault(changed, gpu_build: None) -> None:
    with pytest.raises(ArtifactDamagedError, match="cannot load"):
        open_session(
            read_onnx(changed(lambda model: setattr(model.graph.node[0], "op_type", "Convolute"))), device="cuda"
        )


def test_a_name_that_onnxruntime_cannot_open(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.onnx"
    path.write_bytes(tiny.read_bytes())
    with pytest.raises(ArtifactNotFoundError, match="the name is not UTF-8; rename the file"):
        open_session(read_onnx(path), device="cpu")


class TestAhead:
    def test_the_session_that_is_asked_for_is_the_one_on_its_way(self, tiny: Path) -> None:
        ahead = SessionAhead(read_onnx(tiny), threads=1)
        assert open_session(ahead.file, threads=1, ahead=ahead) is ahead.result()
        assert open_session(ahead.file, threads=1) is not ahead.result()

    @pytest.mark.parametrize("asked_for", [{"device": "cpu"}, {"max_gpu_bytes": 10**9}])
    def test_what_is_asked_for_otherwise_is_opened_anew(self, tiny: Path, asked_for: dict[str, object]) -> None:
        ahead = SessionAhead(read_onnx(tiny), threads=1)
        assert open_session(ahead.file, threads=1, ahead=ahead, **asked_for) is not ahead.result()

    def test_a_file_that_was_read_again_is_opened_anew(self, tiny: Path) -> None:
        """It may be another by now."""
        ahead = SessionAhead(read_onnx(tiny), threads=1)
        assert open_session(read_onnx(tiny), threads=1, ahead=ahead) is not ahead.result()

    def test_its_error_comes_to_whoever_takes_it(self, changed: Callable[..., Path]) -> None:
        file = read_onnx(changed(lambda model: setattr(model.graph.node[0], "op_type", "Convolute")))
        with pytest.raises(ArtifactDamagedError, match=r"cannot load .*changed\.onnx"):
            open_session(file, threads=1, ahead=SessionAhead(file, threads=1))


_BF16 = "mlas.enable_gemm_fastmath_arm64_bfloat16"


def test_bfloat16_on_the_cpu_is_for_arm_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(DeviceError, match=r"cannot use cpu,bf16: .* of ARM alone, and this is x86_64; use cpu$"):
        open_session(read_onnx(tiny), device="cpu,bf16")


def test_bfloat16_is_asked_for_and_shown(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    exact, fast = (Classifier(tiny, device=device, threads=2) for device in ("cpu", "cpu,bf16"))
    assert (exact.device, fast.device) == ("cpu", "cpu,bf16")
    shared = fast._session_of(1)  # for many images
    assert (shared.device, shared.threads) == ("cpu,bf16", 1)
    for session in (fast._session, shared):
        assert session.onnx.get_session_options().get_session_config_entry(_BF16) == "1"
    with pytest.raises(RuntimeError, match="does not have"):
        exact._session.onnx.get_session_options().get_session_config_entry(_BF16)
