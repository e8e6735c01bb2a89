from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from forestgaps_core.testing import require_close
from forestgaps_normalization.sync_batch import SyncBatchNormConfig

PROCESS = """
import sys, torch
from datetime import timedelta
from torch import distributed
from forestgaps_normalization.sync_batch import SyncBatchNormConfig
folder, rank = sys.argv[1], int(sys.argv[2])
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=300)
)
layer = SyncBatchNormConfig(momentum=0.3).build()(3)
given = torch.load(f"{folder}/given.pt")
layer.load_state_dict(given["state"])
mine = slice(0, 4) if rank == 0 else slice(4, 6)  # the last batch of an epoch may be smaller
x = given["x"][mine].clone().requires_grad_()
y = layer(x)
(y * given["pull"][mine]).sum().backward()
kind = type(layer).__name__
torch.save(
    {"y": y.detach(), "x": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad, "state": layer.state_dict(), "kind": kind},
    f"{folder}/{rank}.pt",
)
distributed.destroy_process_group()
"""


def test_two_processes_are_as_one_with_both_batches(tmp_path: Path) -> None:
    """Values, gradients and running averages, against batch norm of the whole."""
    generator = torch.Generator().manual_seed(9)
    x = torch.randn(6, 3, 4, 5, generator=generator) * 3 + torch.tensor([0.0, 50.0, -400.0])[:, None, None]
    x[4:] += 5  # so that each process alone would find other statistics
    pull = torch.randn(6, 3, 4, 5, generator=generator)
    whole = nn.BatchNorm2d(3, momentum=0.3)
    nn.init.uniform_(whole.weight, 0.5, 2)
    state = {name: value.clone() for name, value in whole.state_dict().items()}
    torch.save({"x": x, "pull": pull, "state": state}, tmp_path / "given.pt")
    running = [subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path), str(rank)]) for rank in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))

    x.requires_grad_()
    y = whole(x)
    (y * pull).sum().backward()
    assert first["kind"] == "SyncBatchNorm2d"
    require_close(torch.cat([first["y"], second["y"]]), y, "other values", 1e-4)
    assert x.grad is not None
    require_close(torch.cat([first["x"], second["x"]]), x.grad, "other gradients of the input", 1e-4)
    for name, parameter in whole.named_parameters():
        assert parameter.grad is not None
        require_close(first[name] + second[name], parameter.grad, f"another gradient of the {name}", 1e-4)
    for name, value in whole.state_dict().items():
        require_close(first["state"][name], value, f"another {name}", 1e-4)
        require_close(second["state"][name], value, f"another {name} in the second process", 1e-4)


def test_in_one_process_it_is_plain_batch_norm() -> None:
    assert type(SyncBatchNormConfig().build()(4)) is nn.BatchNorm2d
