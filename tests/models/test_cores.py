import os

import pytest

from studio.models.cores import limit_threads, usable_cores, usable_cpus


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """Eight CPUs, two to a core, and no limit."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    for cpu in range(8):
        write(tmp_path, f"cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}")
    yield
    usable_cpus.cache_clear()
    usable_cores.cache_clear()


def write(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def found(tmp_path):
    where = {"proc": tmp_path / "proc", "cgroups": tmp_path / "cgroup"}
    return usable_cpus(**where), usable_cores(**where, cpus=tmp_path / "cpu")


def test_without_a_limit_it_is_the_machines_cpus_and_their_cores(tmp_path):
    assert found(tmp_path) == (8, 4)


def test_the_affinity_counts_and_two_cpus_of_one_core_are_one_core(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 4}, raising=False)
    assert found(tmp_path) == (3, 2)


def test_where_nobody_says_what_shares_a_core_each_cpu_is_one(tmp_path):
    assert usable_cores(proc=tmp_path, cgroups=tmp_path, cpus=tmp_path / "nowhere") == 8


@pytest.mark.parametrize(("said", "cpus"), [("150000 100000", 2), ("max 100000", 8), ("50000 100000", 1), ("", 8)])
def test_the_quota_of_the_control_group_counts_and_part_of_a_cpu_is_one(tmp_path, said, cpus):
    write(tmp_path, "proc/self/cgroup", "0::/a/job")
    write(tmp_path, "cgroup/a/job/cpu.max", said)
    assert found(tmp_path) == (cpus, min(cpus, 4))


def test_a_group_above_that_is_tighter_counts_and_in_a_container_the_mounts_root(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/../host/job")
    write(tmp_path, "cgroup/cpu.max", "300000 100000")
    assert found(tmp_path) == (3, 3)


@pytest.mark.parametrize(("quota", "cpus"), [("200000", 2), ("-1", 8)])
def test_control_groups_of_the_first_version_count_too(tmp_path, quota, cpus):
    write(tmp_path, "proc/self/cgroup", "9:name=systemd:/\n4:cpuacct,cpu:/job\n0::/")
    write(tmp_path, "cgroup/cpu/job/cpu.cfs_quota_us", quota)
    write(tmp_path, "cgroup/cpu/job/cpu.cfs_period_us", "100000")
    assert found(tmp_path) == (cpus, min(cpus, 4))


def test_torch_is_held_to_the_cores_unless_the_user_says_a_number(monkeypatch):
    monkeypatch.setattr("studio.models.cores.usable_cores", lambda: 4)
    by_itself, told = {}, {"OMP_NUM_THREADS": "7"}
    limit_threads(by_itself)
    limit_threads(told)
    assert (by_itself, told) == ({"OMP_NUM_THREADS": "4"}, {"OMP_NUM_THREADS": "7"})


def test_where_every_cpu_is_a_core_nothing_has_to_be_said(monkeypatch):
    monkeypatch.setattr("studio.models.cores.usable_cores", lambda: 8)
    environ = {}
    limit_threads(environ)
    assert environ == {}
