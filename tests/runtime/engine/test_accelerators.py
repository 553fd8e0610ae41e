"""Other devices than NVIDIA's. tests/install has the real OpenVINO; here ONNX Runtime's own provider for CPUs stands in
for a plug-in, with ONNX Runtime's real interface to plug-ins.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from torchless.engine import accelerators, devices
from torchless.engine.accelerators import place
from torchless.engine.devices import parse_device
from torchless.engine.session import open_session
from torchless.errors import DeviceError
from torchless.model.onnxfile import read_onnx


def placed(device: str, *providers: str) -> object:
    ort = SimpleNamespace(__version__="1.32.0", get_available_providers=lambda: [*providers, "CPUExecutionProvider"])
    return place(ort, parse_device(device), threads=3, max_gpu_bytes=None)


@pytest.mark.parametrize(
    ("device", "provider", "said"),
    [
        ("openvino", "OpenVINO", "pip install onnxruntime-ep-openvino"),
        ("coreml", "CoreML", "pip install 'torchless[cpu]'"),
        ("directml", "Dml", "pip uninstall onnxruntime && pip install onnxruntime-directml"),
        ("migraphx", "MIGraphX", "pip uninstall onnxruntime && pip install onnxruntime-migraphx"),
    ],
)
def test_a_build_without_the_provider(
    tiny: Path, device: str, provider: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        devices.platform, "system", {"coreml": "Darwin", "directml": "Windows"}.get(device, "Linux").strip
    )
    monkeypatch.setattr(devices, "_AMD_GPUS", tmp_path)
    monkeypatch.setattr("torchless.cpuinfo.is_of_intel", lambda: True)
    with pytest.raises(DeviceError) as caught:
        open_session(read_onnx(tiny), device=device)
    version = onnxruntime.__version__
    assert str(caught.value) == (
        f"cannot use {device}: the installed onnxruntime {version} has no {provider}ExecutionProvider; install one "
        f"that has: {said}"
    )


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("coreml", "CoreML is a part of macOS, and this is Linux"),
        ("directml", "DirectML is a part of Windows, and this is Linux"),
        ("migraphx", "no AMD GPU can be used here: "),
        ("openvino", "pip uninstall onnxruntime && pip install onnxruntime-openvino (its newer plug-in takes Intel's"),
    ],
)
def test_no_package_is_advised_that_cannot_help_here(
    device: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices.platform, "system", lambda: "Linux")
    monkeypatch.setattr(devices, "_AMD_GPUS", tmp_path / "kfd")
    monkeypatch.setattr("torchless.cpuinfo.is_of_intel", lambda: False)
    assert said in str(placed(device))


@pytest.mark.parametrize(
    ("device", "provider", "options"),
    [
        ("openvino", "OpenVINOExecutionProvider", {"device_type": "CPU", "precision": "FP32", "num_of_threads": "3"}),
        (
            "openvino:gpu", "OpenVINOExecutionProvider",
            {"device_type": "GPU", "precision": "FP32", "num_of_threads": "3"},
        ),
        ("coreml", "CoreMLExecutionProvider", {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"}),
        ("directml:1", "DmlExecutionProvider", {"device_id": "1"}),
        ("migraphx", "MIGraphXExecutionProvider", {"device_id": "0", "migraphx_fp16_enable": "0"}),
    ],
)  # fmt: skip
def test_each_provider_is_asked_for_float32(device: str, provider: str, options: dict[str, str]) -> None:
    assert placed(device, provider).providers == [(provider, options), "CPUExecutionProvider"]


def test_tensorrt_leaves_the_rest_to_cuda_and_uses_no_tf32(on_cuda: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")
    first, second, third = placed("tensorrt:1", "TensorrtExecutionProvider", "CUDAExecutionProvider").providers
    assert first == ("TensorrtExecutionProvider", {"device_id": "1", "trt_fp16_enable": "0"})
    assert (second[0], second[1]["use_tf32"], third) == ("CUDAExecutionProvider", "0", "CPUExecutionProvider")
    assert accelerators.os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


class TestPlugIn:
    @pytest.fixture
    def plug_in(self, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        """An installed plug-in, whose devices are those of ONNX Runtime's provider for CPUs."""
        module = SimpleNamespace(get_ep_name=lambda: "CPUExecutionProvider", get_library_path=lambda: "/plug-in.so")
        registered: list[tuple[str, str]] = []
        monkeypatch.setattr(accelerators, "find_spec", lambda name: name == "onnxruntime_ep_openvino" or None)
        monkeypatch.setattr(accelerators, "import_module", lambda name: module)
        monkeypatch.setattr(accelerators, "_registered", set())
        monkeypatch.setattr(
            onnxruntime, "register_execution_provider_library", lambda *arguments: registered.append(arguments)
        )
        module.registered = registered
        return module

    def test_a_session_on_it(self, tiny: Path, plug_in: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
        placement = place(onnxruntime, parse_device("openvino"), threads=3, max_gpu_bytes=None)
        place(onnxruntime, parse_device("openvino"), threads=3, max_gpu_bytes=None)
        assert plug_in.registered == [("CPUExecutionProvider", "/plug-in.so")]
        config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "3"}
        assert (placement.providers, json.loads(placement.options["load_config"])) == (None, {"CPU": config})
        options = onnxruntime.SessionOptions()
        placement.prepare(options)
        session = onnxruntime.InferenceSession(tiny, options)
        assert session.run(None, {"input": np.zeros((1, 3, 32, 32), np.float32)})[0].shape == (1, 5)
        with pytest.raises(DeviceError, match="did not load"):  # the provider of that name is not OpenVINO's
            open_session(read_onnx(tiny), device="openvino")

    def test_one_that_finds_no_device(self, tiny: Path, plug_in: SimpleNamespace) -> None:
        with pytest.raises(
            DeviceError,
            match="cannot use openvino:npu: the plug-in onnxruntime_ep_openvino finds no openvino:npu on this machine; "
            "it takes Intel's alone, .*onnxruntime-openvino$",
        ):
            open_session(read_onnx(tiny), device="openvino:npu")

    def test_one_that_does_not_load(
        self, tiny: Path, plug_in: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.undo()
        monkeypatch.setattr(accelerators, "find_spec", lambda name: True)
        monkeypatch.setattr(accelerators, "import_module", lambda name: plug_in)
        with pytest.raises(DeviceError, match="the plug-in onnxruntime_ep_openvino does not load: .*plug-in.so"):
            open_session(read_onnx(tiny), device="openvino")

    def test_an_onnx_runtime_that_takes_none(
        self, tiny: Path, plug_in: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(onnxruntime, "register_execution_provider_library")
        with pytest.raises(DeviceError, match="takes no plug-ins; install a newer one"):
            open_session(read_onnx(tiny), device="openvino")
