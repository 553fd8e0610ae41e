"""The description of the machine: what the kernel tells of the processor, of each kind of processor that it names in
its own way.
"""

from pathlib import Path

import pytest

from torchless import __version__, cpuinfo
from torchless.cpuinfo import features, gigahertz, instruction_sets, revision
from torchless.cpus import available_cpus
from torchless.doctor.machine import Machine, here, machine, versions

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse4_1 avx2 fma avx512_vnni\nbugs\t\t: sysret_avx\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp aes\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("told", "found"), [(X86, ("sse4_1", "fma", "avx2", "avx512_vnni")), (2 * ARM, ("asimd", "asimddp")), ("", ())]
)
def test_the_features_that_matter_to_networks(tmp_path: Path, told: str, found: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    assert features(tmp_path / "cpuinfo") == found
    assert features(tmp_path / "none") == ()


def test_generations_of_one_name_are_told_apart(tmp_path: Path) -> None:
    told = {
        "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\n": "family 25, model 17, stepping 1",
        "CPU implementer\t: 0x41\nCPU part\t: 0xd0c\n": "implementer 0x41, part 0xd0c",
        "": None,
    }
    for text, wanted in told.items():
        (tmp_path / "cpuinfo").write_text(text)
        assert revision(tmp_path / "cpuinfo") == wanted


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"base_frequency": "2600000", "cpuinfo_max_freq": "3700000"}, 2.6),
        ({"cpuinfo_max_freq": "3700000\n", "cpuinfo": "cpu MHz : 812.5"}, 3.7),
        ({"cpuinfo": "cpu MHz\t\t: 2596.146\ncpu MHz\t\t: 2596.146\n"}, 2.6),
        ({"base_frequency": "<unknown>", "cpuinfo": "cpu MHz : unknown"}, None),
        ({}, None),
    ],
)
def test_the_frequency_if_it_can_be_read(tmp_path: Path, files: dict[str, str], wanted: float | None) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert gigahertz(tmp_path / "cpuinfo", tmp_path) == wanted


def test_macos_tells_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"machdep.cpu.brand_string": "Apple M2", "hw.optional.arm.FEAT_BF16": "1", "hw.optional.arm.FEAT_I8MM": "0"}
    monkeypatch.setattr(cpuinfo, "_sysctl", lambda: told)
    monkeypatch.setattr(cpuinfo, "CPUINFO", Path("none"))
    assert cpuinfo.processor_name() == "Apple M2"
    assert features(Path("none")) == ("bf16",)


def test_instruction_sets_as_people_call_them() -> None:
    assert instruction_sets(("avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_bf16")) == [
        "AVX2", "AVX-512", "VNNI", "AMX", "BF16",
    ]  # fmt: skip
    assert instruction_sets(("asimd", "asimddp", "i8mm", "bf16")) == ["NEON", "dotprod", "i8mm", "BF16"]
    assert instruction_sets(()) == []


def test_this_machine() -> None:
    found = machine()
    assert (found.cpus, found.gpu, found.features) == (available_cpus(), None, features())
    assert found.processor
    assert found.memory_gb is None or found.memory_gb > 0
    assert Machine(**here()["machine"] | {"features": features()}) == found


def test_one_line_for_people() -> None:
    known = Machine(
        processor="AMD EPYC", revision="family 25, model 17", cpus=2, ghz=2.6, memory_gb=25, system="Linux x86_64",
        gpu=None, features=("avx2", "avx512f"),
    )  # fmt: skip
    assert str(known) == "AMD EPYC (family 25, model 17), 2 processors of 2.6 GHz, 25 GB, Linux x86_64, AVX2 AVX-512"
    bare = Machine(processor="AMD EPYC", cpus=1, memory_gb=None, system="Linux x86_64", gpu="a GPU")
    assert str(bare) == (
        "AMD EPYC, 1 processor, Linux x86_64, a GPU (memory, frequency, instruction sets: not recorded)"
    )


def test_versions_are_of_what_a_forward_pass_depends_on_or_of_what_is_named() -> None:
    assert list(versions()) == ["python", "onnxruntime", "torchless", "numpy", "pillow"]
    assert versions("torchless") == {"torchless": __version__}


@pytest.mark.parametrize(("vendor", "intel"), [("GenuineIntel", True), ("AuthenticAMD", False)])
def test_whose_processor_it_is(tmp_path: Path, vendor: str, intel: bool) -> None:
    (told := tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    assert cpuinfo.is_of_intel(told) is intel
