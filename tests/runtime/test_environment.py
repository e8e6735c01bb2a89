from __future__ import annotations

import pytest
import torch

from forestgaps_core.errors import ConfigError
from forestgaps_core.runtime.environment import Environment, count_usable_cpus, read_cgroup_quota


def test_a_quota_of_control_groups_version_2_counts(tmp_path):
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert read_cgroup_quota(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert read_cgroup_quota(tmp_path) is None


def test_a_quota_of_version_1_counts(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("400000")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert read_cgroup_quota(tmp_path) == 4.0
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    assert read_cgroup_quota(tmp_path) is None


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert read_cgroup_quota(tmp_path / "nothing") is None
    assert count_usable_cpus() >= 1


def test_a_device_that_is_not_there_is_reported():
    device = "mps" if torch.cuda.is_available() else "cuda"  # no machine has both
    with pytest.raises(ConfigError, match=rf"environment.device: found '{device}', which this machine lacks; there is: cpu"):
        Environment(device=device).torch_device()


def test_a_cpu_has_no_loader_processes_unless_requested():
    cpu = torch.device("cpu")
    assert Environment().loader_processes(cpu) == 0
    assert Environment(workers=3).loader_processes(cpu) == 3
    assert 0 <= Environment().loader_processes(torch.device("cuda")) <= 4


@pytest.mark.parametrize(("precision", "dtype"), [("32", torch.float32), ("bf16", torch.bfloat16), ("16", torch.float16)])
def test_precision_is_that_of_the_forward_pass(precision, dtype):
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    with Environment(precision=precision).autocast(torch.device("cpu")):
        assert layer(x).dtype == dtype


def test_starting_sets_the_seed_and_threads():
    before = torch.get_num_threads()
    try:
        Environment(seed=7, threads=1, device="cpu").start()
        first = torch.rand(3)
        Environment(seed=7, threads=1, device="cpu").start()
        assert torch.equal(torch.rand(3), first)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
