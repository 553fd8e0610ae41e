import os
from pathlib import Path

import pytest

from torchless.cpus import available_cpus, cgroup_quota


@pytest.fixture
def v2(tmp_path: Path):
    """A function that lays out a v2 hierarchy: a quota for the process's group, and one for the group above it."""

    def make(quota: str, parent: str = "max 100000") -> tuple[Path, Path]:
        leaf = tmp_path / "cgroup" / "pod" / "box"
        leaf.mkdir(parents=True)
        (leaf / "cpu.max").write_text(quota + "\n")
        (leaf.parent / "cpu.max").write_text(parent + "\n")
        (tmp_path / "proc").write_text("0::/pod/box\n")
        return tmp_path / "cgroup", tmp_path / "proc"

    return make


@pytest.mark.parametrize(
    ("own", "parent", "quota"),
    [
        ("max 100000", "max 100000", None),
        ("150000 100000", "max 100000", 1.5),
        ("max 100000", "50000 100000", 0.5),
        ("300000 100000", "200000 100000", 2),
        ("garbage", "max", None),
    ],
)
def test_v2_takes_the_tightest_quota(v2, own: str, parent: str, quota: float | None) -> None:
    assert cgroup_quota(*v2(own, parent)) == quota


@pytest.mark.parametrize(("quota", "expected"), [("-1", None), ("250000", 2.5)])
def test_v1(tmp_path: Path, quota: str, expected: float | None) -> None:
    group = tmp_path / "cgroup" / "cpu" / "docker" / "abc"
    group.mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text(quota)
    (group / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "proc").write_text("4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n")
    assert cgroup_quota(tmp_path / "cgroup", tmp_path / "proc") == expected


def test_a_container_that_sees_only_its_own_group(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")
    (tmp_path / "proc").write_text("0::/\n")
    assert cgroup_quota(tmp_path, tmp_path / "proc") == 1


def test_no_control_groups(tmp_path: Path) -> None:
    assert cgroup_quota(tmp_path, tmp_path / "none") is None


def test_affinity_and_quota_together(v2) -> None:
    root, proc = v2("110000 100000")
    before = os.sched_getaffinity(0)
    try:
        assert available_cpus(cgroup_root=root, proc_cgroup=proc) == min(2, len(before))
        os.sched_setaffinity(0, {min(before)})
        assert available_cpus(cgroup_root=root, proc_cgroup=proc) == 1
    finally:
        os.sched_setaffinity(0, before)
