"""Parts of a step, beside how torch does them: optimizer, clipping, averaged weights, thresholds.

    python benchmarks/step_parts.py --rounds 21 --json step_parts.json

- Optimizer: AdamW fused, as ours is by default, beside torch's default (one kernel for all parameters against several for each), on
  the parameters of ground_unet. Goal 0.40 (0.33 was measured).
- Clipping: `forestgaps_core.training.optimizer_step.clip_gradients` beside `torch.nn.utils.clip_grad_norm_`, on the same gradients,
  after the same norm.
- EMA weights: what a step of the callback `ema_weights` takes, as a fraction of a training step of ground_unet on 8 tiles of
  256 x 256 pixels. Goal 0.02. A loop over the weights, tensor by tensor, besides.
- Thresholds: a forward pass on 4 tiles for seven thresholds, beside one for one threshold. Goal 1.2, for the
  networks that predict the distribution of heights.

How to read it: CPU time of one thread, jobs in turns (see `interleaved`); the median ratio to the reference of each table.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from interleaved import Comparison, interleaved, record, save, surroundings, table
from torch import Tensor, nn

from forestgaps_callbacks.ema_weights import EmaWeights
from forestgaps_core import Batch, Environment, Trainer
from forestgaps_core.training.optimizer_step import clip_gradients
from forestgaps_losses.bce import Bce
from forestgaps_models import GroundUNet, HeightUNet, UNet
from forestgaps_normalization.batch import BatchNormConfig

LEVELS = (2.0, 5.0, 8.0, 10.0, 15.0, 20.0, 25.0)
DECAY = 0.99
NETWORKS = {"ground_unet": GroundUNet, "height_unet": HeightUNet, "unet": UNet}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = NETWORKS[name]().build(normalization=BatchNormConfig().build(), resolution_m=1.0)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def with_gradients(model: nn.Module) -> list[nn.Parameter]:
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return parameters


def optimizers(rounds: int) -> Comparison:
    jobs: dict[str, Callable[[], object]] = {}
    for name, fused in (("default", False), ("fused", True)):
        optimizer = torch.optim.AdamW(with_gradients(network("ground_unet")), lr=1e-3, fused=fused)
        jobs[name] = partial(repeat, optimizer.step, 10)
    return Comparison("10 steps of AdamW", interleaved(jobs, rounds=rounds), reference="default", goals={"fused": 0.40})


def clipping(rounds: int) -> Comparison:
    theirs = with_gradients(network("ground_unet"))
    ours = [parameter.grad for parameter in with_gradients(network("ground_unet")) if parameter.grad is not None]
    jobs = {
        "torch": partial(repeat, partial(torch.nn.utils.clip_grad_norm_, theirs, 1e-3), 10),
        "ours": partial(repeat, partial(clip_gradients, ours, 1e-3), 10),
    }
    return Comparison("10 times clipping", interleaved(jobs, rounds=rounds), reference="torch", goals={"ours": 1.0})


def averages(rounds: int) -> Comparison:
    model, loss = network("ground_unet"), Bce().build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    trainer = Trainer(model=model, loss=loss, optimizer=optimizer, environment=Environment(device="cpu"))
    batch = example(8, 256, LEVELS[:4])
    callback = EmaWeights(decay=DECAY)
    callback.fit_start(SimpleNamespace(model=model))
    average = copy.deepcopy(model.state_dict())

    @torch.no_grad()
    def loop() -> None:
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].mul_(DECAY).add_(value, alpha=1 - DECAY)

    jobs = {
        "a training step": partial(trainer.train_step, [batch]),
        "ema_weights": partial(callback.step_end, SimpleNamespace(model=model)),
        "a loop over the weights": loop,
    }
    seconds = interleaved(jobs, rounds=max(rounds // 3, 3))
    return Comparison("averaged weights", seconds, reference="a training step", goals={"ema_weights": 0.02})


def thresholds(name: str, rounds: int) -> Comparison:
    model = network(name).eval()
    batch = example(4, 256, LEVELS)
    one = batch.thresholds[:, 3:4]

    @torch.inference_mode()
    def forward(levels: Tensor) -> None:
        model(batch.dsm, batch.valid, levels)

    jobs = {"one threshold": partial(forward, one), "seven thresholds": partial(forward, batch.thresholds)}
    seconds = interleaved(jobs, rounds=max(rounds // 2, 3))
    goals = {} if name == "unet" else {"seven thresholds": 1.2}
    return Comparison(f"{name}, a forward pass", seconds, reference="one threshold", goals=goals)


def example(samples: int, size: int, levels: tuple[float, ...]) -> Batch:
    made = torch.Generator().manual_seed(0)
    height = (torch.rand(samples, 1, size, size, generator=made) * 45 - 15).clamp(min=0)
    requested = torch.tensor(levels).expand(samples, -1)
    target = (height < requested[:, :, None, None]).float()
    return Batch(
        dsm=400 + height, thresholds=requested, target=target, valid=torch.ones_like(height, dtype=torch.bool), height=height
    )


def repeat(job: Callable[[], object], times: int) -> None:
    for _ in range(times):
        job()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="rounds of each comparison")
    parser.add_argument("--json", type=Path, help="file for the seconds of every round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = surroundings(["torch", "forestgaps-core", "forestgaps-models", "forestgaps-callbacks"])
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds\n")
    made: list[dict[str, Any]] = []
    for compare in (optimizers, clipping, averages, *(partial(thresholds, name) for name in NETWORKS)):
        comparison = compare(arguments.rounds)
        print(table(comparison), end="\n\n", flush=True)
        made.append(record(comparison))
    save(arguments.json, {"about": about, "comparisons": made})


if __name__ == "__main__":
    main()
