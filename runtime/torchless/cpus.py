"""How many processors this process may really use: by its affinity mask and its container's quota."""

import os
from functools import cache
from pathlib import Path

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_PROC_CGROUP = Path("/proc/self/cgroup")


def available_cpus(*, cgroup_root: Path = _CGROUP_ROOT, proc_cgroup: Path = _PROC_CGROUP) -> int:
    """At least 1. A fractional quota is rounded up: 1.5 processors justify two threads."""
    quota = cgroup_quota(cgroup_root, proc_cgroup)
    return affinity() if quota is None else max(1, min(affinity(), int(-(-quota // 1))))


def affinity() -> int:
    """The processors that this process may run on, whatever its quota; all there are where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def cgroup_quota(cgroup_root: Path, proc_cgroup: Path) -> float | None:
    """The processor time that control groups grant, in processors; None without a limit.

    The lowest limit of this group and its parents, read once per process. Kernel documentation:
    admin-guide/cgroup-v2 (`cpu.max`) and scheduler/sched-bwc (`cpu.cfs_quota_us`) for v1.
    """
    quotas = [quota for folder in _group_folders(cgroup_root, proc_cgroup) if (quota := _quota_of(folder)) is not None]
    return min(quotas, default=None)


def _group_folders(cgroup_root: Path, proc_cgroup: Path) -> list[Path]:
    """This process's groups and their parents up to the root, for v2 and for v1's cpu controller."""
    folders = []
    for line in _read(proc_cgroup).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            base = cgroup_root
        elif "cpu" in controllers.split(","):
            base = cgroup_root / "cpu"
        else:
            continue
        leaf = base / group.strip("/")
        folders += [folder for folder in (leaf, *leaf.parents) if folder == base or base in folder.parents]
    return folders


def _quota_of(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
