import pytest

from torchless.engine.devices import Device, parse_device
from torchless.errors import UsageError


@pytest.mark.parametrize(
    ("text", "device", "full"),
    [
        ("auto", Device("auto"), "auto"),
        ("cpu", Device("cpu"), "cpu"),
        ("cuda", Device("cuda"), "cuda:0"),
        ("cuda:3", Device("cuda", 3), "cuda:3"),
        ("cuda,tf32", Device("cuda", tf32=True), "cuda:0,tf32"),
        ("cuda:1,tf32", Device("cuda", 1, tf32=True), "cuda:1,tf32"),
        ("cpu,bf16", Device("cpu", bf16=True), "cpu,bf16"),
        ("tensorrt:1", Device("tensorrt", 1), "tensorrt:1"),
        ("openvino", Device("openvino", part="cpu"), "openvino:cpu"),
        ("openvino:npu", Device("openvino", part="npu"), "openvino:npu"),
        ("coreml", Device("coreml"), "coreml"),
        ("directml", Device("directml"), "directml:0"),
        ("migraphx:2", Device("migraphx", 2), "migraphx:2"),
    ],
)
def test_devices_parse(text: str, device: Device, full: str) -> None:
    assert parse_device(text) == device
    assert str(device) == full
    assert parse_device(full) == device


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:-1", "CPU", "", "cuda:0 ", "cpu:1", "openvino:1", "coreml:0"])
def test_unknown_devices(text: str) -> None:
    with pytest.raises(UsageError, match="use auto, cpu, cuda, tensorrt, openvino, coreml, directml or migraphx"):
        parse_device(text)


@pytest.mark.parametrize("text", ["cpu,tf32", "auto,tf32", "tensorrt,tf32", "openvino,tf32"])
def test_only_cuda_takes_tf32(text: str) -> None:
    with pytest.raises(UsageError, match="only cuda takes tf32"):
        parse_device(text)


@pytest.mark.parametrize("text", ["cuda,bf16", "auto,bf16", "openvino:cpu,bf16"])
def test_only_the_cpu_takes_bf16(text: str) -> None:
    with pytest.raises(UsageError, match="only cpu takes bf16"):
        parse_device(text)
