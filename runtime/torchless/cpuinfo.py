"""What the system tells of the processor: its name, its revision, its frequency, and those instruction sets that decide
how fast a network runs, or in which order and precision it adds up.

Linux tells it in /proc/cpuinfo and /sys, macOS through `sysctl`, Windows only in the name. What is not told is None, or
not listed.
"""

import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
# By their names in Linux.
_FEATURES = (
    "sse4_1", "fma", "f16c", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
# What macOS calls them.
_SYSCTL_FEATURES = {
    "hw.optional.sse4_1": "sse4_1", "hw.optional.avx1_0": "avx", "hw.optional.avx2_0": "avx2",
    "hw.optional.avx512f": "avx512f", "hw.optional.avx512bw": "avx512bw", "hw.optional.avx512vl": "avx512vl",
    "hw.optional.fma": "fma", "hw.optional.f16c": "f16c", "hw.optional.AdvSIMD": "asimd",
    "hw.optional.arm.FEAT_FP16": "asimdhp", "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm", "hw.optional.arm.FEAT_BF16": "bf16",
}  # fmt: skip
_FAMILIES = {
    "AVX2": ("avx2",), "AVX-512": ("avx512f",), "VNNI": ("avx512_vnni", "avx_vnni"), "AMX": ("amx_tile",),
    "NEON": ("asimd",), "dotprod": ("asimddp",), "i8mm": ("i8mm",), "BF16": ("avx512_bf16", "amx_bf16", "bf16"),
    "SVE": ("sve",),
}  # fmt: skip


def features(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Features such as avx2 and avx512_vnni; empty if the system does not list them."""
    told = {word for text in _told(cpuinfo, "flags", "Features") for word in text.split()}
    told |= {name for key, name in _SYSCTL_FEATURES.items() if _sysctl().get(key) == "1"}
    return tuple(name for name in _FEATURES if name in told)


def instruction_sets(names: tuple[str, ...]) -> list[str]:
    """The families that people know, such as AVX-512 and VNNI, of which `names` has a feature."""
    return [family for family, members in _FAMILIES.items() if any(name in names for name in members)]


def processor_name() -> str:
    """The model as its maker calls it, or the architecture."""
    told = next(_told(CPUINFO, "model name", "Model"), None) or _sysctl().get("machdep.cpu.brand_string")
    return told or platform.processor() or platform.machine()


def is_of_intel(cpuinfo: Path = CPUINFO) -> bool:
    """Whether this processor is Intel's, or nothing says whose it is."""
    told = next(_told(cpuinfo, "vendor_id"), "") if cpuinfo.exists() else platform.processor()
    return not told or "Intel" in told


def revision(cpuinfo: Path = CPUINFO) -> str | None:
    """What tells generations of one name apart: "family 25, model 17, stepping 1", on arm "implementer 0x41, part
    0xd0c".
    """
    keys = {"cpu family": "family", "model": "model", "stepping": "stepping"} | {
        "CPU implementer": "implementer", "CPU part": "part",
    }  # fmt: skip
    parts = [f"{name} {told}" for key, name in keys.items() if (told := next(_told(cpuinfo, key), None)) is not None]
    return ", ".join(parts) or None


def gigahertz(cpuinfo: Path = CPUINFO, cpufreq: Path = CPUFREQ) -> float | None:
    """The frequency that the processor is sold with, or its highest, to a tenth; a virtual machine tells only the one
    that it counts with.
    """
    kilohertz = (next(_lines(cpufreq / name), "") for name in ("base_frequency", "cpuinfo_max_freq"))
    megahertz = next(_told(cpuinfo, "cpu MHz"), "")
    found = next((int(text) / 1e6 for text in kilohertz if text.isdecimal()), None)
    if found is None and megahertz.replace(".", "", 1).isdecimal():
        found = float(megahertz) / 1e3
    return None if found is None else round(found, 1)


def _told(cpuinfo: Path, *keys: str) -> Iterator[str]:
    """What the kernel says under one of the keys, for each processor in turn."""
    for line in _lines(cpuinfo):
        key, _, value = line.partition(":")
        if key.strip() in keys:
            yield value.strip()


def _lines(path: Path) -> Iterator[str]:
    """Of a file that may not be there."""
    try:
        yield from path.read_text().splitlines()
    except OSError:
        return


def _sysctl() -> dict[str, str]:
    """What macOS says of its processor; empty elsewhere."""
    if platform.system() != "Darwin":
        return {}
    command = ["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
