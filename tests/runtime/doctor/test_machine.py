"""The description of the machine: what the kernel tells of the processor, of each kind of processor that it names in
its own way.
"""

from pathlib import Path

import pytest

from torchless import __version__
from torchless.cpus import available_cpus
from torchless.doctor.machine import features, machine, versions

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse4_1 avx2 fma avx512_vnni\nbugs\t\t: sysret_avx\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp aes\nCPU part\t: 0xd0c\n"


@pytest.mark.parametrize(
    ("told", "found"), [(X86, ("sse4_1", "fma", "avx2", "avx512_vnni")), (2 * ARM, ("asimd", "asimddp")), ("", ())]
)
def test_the_features_that_matter_to_networks(tmp_path: Path, told: str, found: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    assert features(tmp_path / "cpuinfo") == found
    assert features(tmp_path / "none") == ()


def test_this_machine() -> None:
    here = machine()
    assert (here.cpus, here.gpu, here.features) == (available_cpus(), None, features())
    assert here.processor
    assert here.memory_gb > 0


def test_versions_are_of_what_a_forward_pass_depends_on_or_of_what_is_named() -> None:
    assert list(versions()) == ["python", "onnxruntime", "torchless", "numpy", "pillow"]
    assert versions("torchless") == {"torchless": __version__}
