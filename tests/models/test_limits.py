import psutil
import pytest

from studio.errors import BadInput
from studio.models.limits import host_memory, parse_bytes

MB = 10**6


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("8GB", 8 * 10**9), ("8gb", 8 * 10**9), ("7.5 GiB", 7.5 * 2**30), ("512MB", 512 * MB), (" 1 TiB ", 2**40),
        ("900kB", 900_000), ("64KiB", 65536), ("4096B", 4096),
    ],
)  # fmt: skip
def test_an_amount_of_memory_is_read_as_it_is_written(text, nbytes):
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize("text", ["", "8", "GB", "-1GB", "8 G", "8 gigs", "1e9B", "nanGB", "0GB", "0.0001B"])
def test_what_is_no_amount_of_memory_is_refused_with_an_example_or_a_reason(text):
    with pytest.raises(BadInput) as caught:
        parse_bytes(text, field="vram_budget")
    assert repr(text) in caught.value.message
    assert caught.value.remedy
    assert caught.value.field == "vram_budget"


@pytest.fixture
def group(tmp_path):
    """Writes a control group's files and says that this process is in it."""

    def write(path, hierarchy="0::", **files):
        folder = tmp_path / "cgroup" / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name.replace("_DOT_", ".")).write_text(f"{text}\n")
        (tmp_path / "proc" / "self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(f"3:cpu:/\n{hierarchy}/{path}\n")

    write.look = lambda: host_memory(proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")
    return write


def test_the_limit_of_the_control_group_counts_and_its_reclaimable_cache_is_available(group):
    stat = "anon 100\ninactive_file 20000000\nactive_file 5"
    group("a/job", memory_DOT_max=100 * MB, memory_DOT_current=50 * MB, memory_DOT_stat=stat)
    assert group.look().total_bytes == 100 * MB
    assert group.look().available_bytes == 70 * MB


def test_a_group_above_that_is_tighter_counts(group):
    group("a", memory_DOT_max=60 * MB, memory_DOT_current=55 * MB, memory_DOT_stat="inactive_file 0")
    group("a/job", memory_DOT_max="max", memory_DOT_current=10 * MB, memory_DOT_stat="inactive_file 0")
    assert group.look().total_bytes == 60 * MB
    assert group.look().available_bytes == 5 * MB


def test_the_mark_above_which_the_kernel_slows_a_group_down_counts_as_its_limit(group):
    group("job", memory_DOT_max=90 * MB, memory_DOT_high=40 * MB, memory_DOT_current=50 * MB)
    assert group.look().total_bytes == 40 * MB
    assert group.look().available_bytes == 0


def test_control_groups_of_the_first_version_count_too_and_their_no_limit_is_none(group, tmp_path):
    group(
        "memory/job",
        "4:memory:",
        memory_DOT_limit_in_bytes=80 * MB,
        memory_DOT_usage_in_bytes=30 * MB,
        memory_DOT_stat="total_inactive_file 10000000",
    )
    (tmp_path / "proc" / "self" / "cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/job\n0::/\n")
    (tmp_path / "cgroup" / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "cgroup" / "memory" / "memory.usage_in_bytes").write_text("5\n")
    assert group.look().total_bytes == 80 * MB
    assert group.look().available_bytes == 60 * MB


def test_in_a_container_that_sees_only_its_own_group_as_the_root_that_counts(group, tmp_path):
    group("", memory_DOT_max=70 * MB, memory_DOT_current=1 * MB)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/docker/0123\n")
    assert group.look().total_bytes == 70 * MB


def test_without_control_groups_the_machine_counts(tmp_path):
    found = host_memory(proc=tmp_path, cgroups=tmp_path)
    assert found.total_bytes == psutil.virtual_memory().total
    assert 0 < found.available_bytes <= found.total_bytes


def test_here_and_now_there_is_some_memory():
    assert 0 < host_memory().available_bytes <= host_memory().total_bytes
