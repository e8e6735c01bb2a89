"""What a training loop costs beside the network: ours and those of others, against a bare loop.

    python benchmarks/trainer_overhead.py --rounds 15 --json trainer_overhead.json

One 3x3 convolution on batches of 8x1x16x16: so little work that what is left is the loop. All train the same weights on the same
batches in the same order: binary cross-entropy, AdamW, gradients clipped to a norm of 1, a rate that warms up and falls along a
cosine, the mean loss of the epoch. Nothing is logged or written. All use torch's fused AdamW, as ours does by default, so that
none is quicker for the optimizer; a bare loop with AdamW as torch has it by default is shown besides. Ours has five callbacks,
each called in every step, and watches loss and gradients for non-finite values; the others have what they begin with.

How to read it: each loop lives in processes of its own, they take turns, in a shuffled order each round. The same code is up to 1%
slower in one process than in the next, so the bare loop and ours have three of each, and their mean counts. The network notes the
CPU time of the thread at each forward pass; what lies between two passes of an epoch is a step. Of a run the tenth percentile of
the steps counts (those that nobody disturbed), its ratio to the bare loop is taken in every round, and the median over the rounds
is what to read, with the quartiles beside it. `reads` are numbers that the host asks of the device in a step
(aten::_local_scalar_dense; on a GPU each is a wait), in all steps but every 50th, in which ours looks whether all were numbers.
Peers that are not installed are left out: see benchmarks/requirements.txt.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from interleaved import Comparison, record, save, spread, surroundings, verdict

BATCH, SIZE, STEPS, EPOCHS = 8, 16, 250, 4
LOOK = 50  # steps from one look of ours at loss and gradients to the next
CLIP, RATE, DECAY = 1.0, 1e-3, 0.01
GOAL = 1.05
REFERENCE, OURS = "bare", "forestgaps"
Fit = Callable[[Any, Any], float]  # network and loader to the mean loss of the last epoch
PACKAGES = {
    "Ignite": "pytorch-ignite",
    "Fabric": "lightning-fabric",
    "MONAI": "monai",
    "MMEngine": "mmengine-lite",
    "accelerate": "accelerate",
    "HF Trainer": "transformers",
    "Lightning": "pytorch-lightning",
}


def factor(epoch: int) -> float:
    return 0.5 if epoch < 1 else 0.5 * (1 + math.cos(math.pi * (epoch - 1) / (EPOCHS - 1)))


def optimizer_of(model: Any, *, fused: bool = True) -> tuple[Any, Any]:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=fused)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def criterion() -> Any:
    import torch

    return torch.nn.BCEWithLogitsLoss()


# --- the loops: each function imports its package and returns what fits ---------------------------------------------


def bare(*, fused: bool = True) -> Fit:
    import torch

    clip = torch.nn.utils.clip_grad_norm_

    def fit(model: Any, loader: Any) -> float:
        loss_of, (optimizer, schedule) = criterion(), optimizer_of(model, fused=fused)
        parameters = list(model.parameters())
        model.train()
        mean = math.nan
        for _ in range(EPOCHS):
            total = torch.zeros(())
            for x, y in loader:
                loss = loss_of(model(x), y)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                clip(parameters, CLIP)
                optimizer.step()
                total += loss.detach()
            schedule.step()
            mean = total.item() / len(loader)
        return mean

    return fit


def bare_default() -> Fit:
    return bare(fused=False)


def forestgaps() -> Fit:
    import torch

    from forestgaps_core import Batch, Environment, Trainer, hookimpl

    class Listens:
        @hookimpl
        def step_end(self) -> None: ...

    class Pair:
        def __init__(self, x: Any, y: Any) -> None:
            self.x, self.y = x, y

        def to(self, *_: Any, **__: Any) -> Pair:
            return self

    class Pairs:
        def __init__(self, loader: Any) -> None:
            self.loader = loader

        def __len__(self) -> int:
            return len(self.loader)

        def __iter__(self) -> Iterator[Pair]:
            return (Pair(x, y) for x, y in self.loader)

    class Network(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, dsm: Any, valid: Any, thresholds: Any) -> Any:
            return self.inner(dsm)

    valid, thresholds = torch.ones(BATCH, 1, SIZE, SIZE, dtype=torch.bool), torch.full((BATCH, 1), 5.0)

    def fit(model: Any, loader: Any) -> float:
        loss_of = criterion()
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
        trainer = Trainer(
            model=Network(model),
            loss=lambda logits, batch: loss_of(logits, batch.target),
            optimizer=optimizer,
            scheduler=lambda step: factor(step // STEPS),
            callbacks=[Listens() for _ in range(5)],
            max_gradient_norm=CLIP,
            check_every=LOOK,
            environment=Environment(device="cpu", channels_last=False),
            make_train_batch=lambda pair: Batch(dsm=pair.x, thresholds=thresholds, target=pair.y, valid=valid),
        )
        trainer.fit(Pairs(loader), epochs=EPOCHS)
        return trainer.scores["train/loss"]

    return fit


def ignite() -> Fit:
    import torch
    from ignite.engine import Engine, Events
    from ignite.metrics import Average

    clip = torch.nn.utils.clip_grad_norm_

    def fit(model: Any, loader: Any) -> float:
        loss_of, (optimizer, schedule) = criterion(), optimizer_of(model)
        parameters = list(model.parameters())

        def update(engine: Any, batch: Any) -> Any:
            model.train()
            x, y = batch
            loss = loss_of(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip(parameters, CLIP)
            optimizer.step()
            return loss.detach()

        engine = Engine(update)
        engine.logger.setLevel(logging.ERROR)
        Average().attach(engine, "loss")
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: schedule.step())
        engine.run(loader, max_epochs=EPOCHS)
        return float(engine.state.metrics["loss"])

    return fit


def fabric() -> Fit:
    import torch
    from lightning_fabric import Fabric

    def fit(model: Any, loader: Any) -> float:
        fabric = Fabric(accelerator="cpu", devices=1)
        loss_of, (bare_optimizer, schedule) = criterion(), optimizer_of(model)
        network, optimizer = fabric.setup(model, bare_optimizer)
        batches = fabric.setup_dataloaders(loader)
        network.train()
        mean = math.nan
        for _ in range(EPOCHS):
            total = torch.zeros(())
            for x, y in batches:
                loss = loss_of(network(x), y)
                optimizer.zero_grad(set_to_none=True)
                fabric.backward(loss)
                fabric.clip_gradients(network, optimizer, max_norm=CLIP)
                optimizer.step()
                total += loss.detach()
            schedule.step()
            mean = total.item() / len(batches)
        return mean

    return fit


def monai() -> Fit:
    import torch
    from ignite.metrics import Average
    from monai.engines import IterationEvents, SupervisedTrainer
    from monai.handlers import LrScheduleHandler

    clip = torch.nn.utils.clip_grad_norm_

    def fit(model: Any, loader: Any) -> float:
        optimizer, schedule = optimizer_of(model)
        parameters = list(model.parameters())
        engine = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=EPOCHS,
            train_data_loader=loader,
            network=model,
            optimizer=optimizer,
            loss_function=criterion(),
            prepare_batch=lambda batch, *_, **__: (batch[0], batch[1]),
            key_train_metric={"loss": Average(output_transform=lambda output: output["loss"])},
            decollate=False,
            train_handlers=[LrScheduleHandler(schedule, print_lr=False)],
            optim_set_to_none=True,
        )
        engine.logger.setLevel(logging.ERROR)
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, lambda _: clip(parameters, CLIP))
        engine.run()
        return float(engine.state.metrics["loss"])

    return fit


def mmengine() -> Fit:
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel
    from mmengine.optim import OptimWrapper
    from mmengine.runner import Runner

    folder, runs = tempfile.mkdtemp(), iter(range(10**9))

    class Network(BaseModel):  # type: ignore[misc]
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model, self.loss_of = model, criterion()

        def forward(self, x: Any, y: Any, mode: str = "loss") -> Any:
            return {"loss": self.loss_of(self.model(x), y)} if mode == "loss" else self.model(x)

    def fit(model: Any, loader: Any) -> float:
        optimizer, schedule = optimizer_of(model)

        class Schedule(Hook):  # type: ignore[misc]
            def after_train_epoch(self, runner: Any) -> None:
                schedule.step()

        runner = Runner(
            model=Network(model),
            work_dir=folder,
            train_dataloader=loader,
            experiment_name=f"run{next(runs)}",
            train_cfg={"by_epoch": True, "max_epochs": EPOCHS, "val_interval": 10**6},
            optim_wrapper=OptimWrapper(optimizer, clip_grad={"max_norm": CLIP}),
            default_hooks={"checkpoint": None, "logger": None},
            log_level="ERROR",
            randomness={"seed": 0},
        )
        runner.register_hook(Schedule())
        runner.train()
        return math.nan

    return fit


def accelerate() -> Fit:
    import torch
    from accelerate import Accelerator

    def fit(model: Any, loader: Any) -> float:
        accelerator = Accelerator(cpu=True)
        loss_of, (bare_optimizer, schedule) = criterion(), optimizer_of(model)
        network, optimizer, batches = accelerator.prepare(model, bare_optimizer, loader)
        parameters = list(network.parameters())
        network.train()
        mean = math.nan
        for _ in range(EPOCHS):
            total = torch.zeros(())
            for x, y in batches:
                loss = loss_of(network(x), y)
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(parameters, CLIP)
                optimizer.step()
                total += loss.detach()
            schedule.step()
            mean = total.item() / len(batches)
        return mean

    return fit


def hf_trainer() -> Fit:
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
    import torch
    from transformers import Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    folder = tempfile.mkdtemp()

    class Network(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model, self.loss_of = model, criterion()

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            logits = self.model(x)
            return {"loss": self.loss_of(logits, labels), "logits": logits}

    class Named:
        def __init__(self, loader: Any) -> None:
            self.loader, self.batch_size, self.dataset = loader, loader.batch_size, loader.dataset

        def __len__(self) -> int:
            return len(self.loader)

        def __iter__(self) -> Iterator[dict[str, Any]]:
            return ({"x": x, "labels": y} for x, y in self.loader)

    def fit(model: Any, loader: Any) -> float:
        optimizer, _ = optimizer_of(model)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step // STEPS))

        class Loop(Trainer):  # type: ignore[misc]
            def get_train_dataloader(self) -> Named:
                return Named(loader)

        options = TrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            max_grad_norm=CLIP,
            use_cpu=True,
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            per_device_train_batch_size=loader.batch_size,
        )
        loop = Loop(model=Network(model), args=options, optimizers=(optimizer, schedule), train_dataset=loader.dataset)
        loop.remove_callback(PrinterCallback)
        return float(loop.train().training_loss)

    return fit


def lightning() -> Fit:
    import pytorch_lightning as pl

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model, self.loss_of = model, criterion()

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            return self.loss_of(self.model(x), y)

        def configure_optimizers(self) -> Any:
            optimizer, schedule = optimizer_of(self.model)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}

    def fit(model: Any, loader: Any) -> float:
        loop = pl.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            devices=1,
            gradient_clip_val=CLIP,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        loop.fit(Module(model), loader)
        return math.nan

    return fit


LOOPS: dict[str, Callable[[], Fit]] = {
    REFERENCE: bare,
    OURS: forestgaps,
    "bare, AdamW not fused": bare_default,
    "Ignite": ignite,
    "Fabric": fabric,
    "MONAI": monai,
    "MMEngine": mmengine,
    "accelerate": accelerate,
    "HF Trainer": hf_trainer,
    "Lightning": lightning,
}


# --- a process for each loop ----------------------------------------------------------------------------------------


def work(name: str) -> None:
    """Answer each line of the standard input with a line of JSON: `time` or `reads`."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a package prints must not be read as an answer
    warnings.filterwarnings("ignore")

    def answer(**result: Any) -> None:
        out.write(json.dumps(result) + "\n")
        out.flush()

    try:
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode

        fit = LOOPS[name]()
        torch.set_num_threads(1)
    except Exception as error:
        answer(error=f"{type(error).__name__}: {error}"[:200])
        return
    answer()
    stamps: list[float] = []
    stamp = time.thread_time
    x = torch.randn(BATCH * STEPS, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, (x > 0.8).float()), batch_size=BATCH)

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    class Stamped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolution = torch.nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Any) -> Any:
            stamps.append(stamp())
            return self.convolution(x)

    for line in sys.stdin:
        stamps.clear()
        model = Stamped()
        gc.collect()
        try:
            if line.strip() == "reads":
                with Reads() as reads:
                    stamp = lambda: float(reads.count)  # noqa: E731
                    fit(model, loader)
                each = [after - before for before, after in pairwise(stamps)]
                answer(reads=fmean(count for place, count in enumerate(each, 1) if place % LOOK))
                stamp = time.thread_time
                continue
            loss = fit(model, loader)
            steps = [after - before for before, after in pairwise(stamps)]
            inside = sorted(seconds for place, seconds in enumerate(steps[20:], 21) if place % STEPS)
            weights = sum(weight.detach().abs().sum().item() for weight in model.parameters())
            answer(seconds=inside[len(inside) // 10], loss=loss, weights=weights)
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}"[:200])


class Worker:
    def __init__(self, name: str, errors: int) -> None:
        command = [sys.executable, "-W", "ignore", __file__, "--work", name]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )

    def read_answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return dict(json.loads(line)) if line else {"error": "its process died"}

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.read_answer()

    def close(self) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="runs of each loop")
    parser.add_argument("--processes", type=int, default=3, help="processes of the bare loop and of ours")
    parser.add_argument("--only", nargs="+", choices=LOOPS, default=list(LOOPS), help="loops beside the bare one")
    parser.add_argument("--json", type=Path, help="file for the seconds of every round")
    parser.add_argument("--work", choices=LOOPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        return
    workers: dict[tuple[str, int], Worker] = {}
    left_out: dict[str, str] = {}
    for name in dict.fromkeys([REFERENCE, OURS, *arguments.only]):  # one after the other: imports are heavy
        for place in range(arguments.processes if name in (REFERENCE, OURS) else 1):
            worker = Worker(name, subprocess.DEVNULL)
            if error := worker.read_answer().get("error"):
                left_out[name] = error
            else:
                workers[name, place] = worker
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in workers}
    shuffle = random.Random(0).shuffle
    for turn in range(arguments.rounds + 1):
        order = list(workers)
        shuffle(order)
        round_of: dict[str, list[dict[str, Any]]] = {name: [] for name in answers}
        for name, place in order:
            answer = workers[name, place].ask("time")
            if error := answer.get("error"):
                left_out[name] = error
                workers.pop((name, place)).close()
                answers.pop(name, None)
            else:
                round_of[name].append(answer)
        if turn:  # the first round warms up
            for name in answers:
                answers[name].append({**round_of[name][0], "seconds": fmean(answer["seconds"] for answer in round_of[name])})
    reads = {name: workers[name, 0].ask("reads").get("reads", math.nan) for name in answers}
    for worker in workers.values():
        worker.close()
    report(answers, reads, left_out, arguments)


def report(
    answers: dict[str, list[dict[str, Any]]], reads: dict[str, float], left_out: dict[str, str], arguments: argparse.Namespace
) -> None:
    about = surroundings(["torch", "forestgaps-core", *PACKAGES.values()])
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds\n")
    seconds = {name: [answer["seconds"] for answer in result] for name, result in answers.items()}
    comparison = Comparison("a training step", seconds, reference=REFERENCE, goals={OURS: GOAL})
    wide = max(map(len, seconds))
    print(f"  {'a training step':{wide}}  microseconds   ratio to bare (quartiles)   reads a step")
    for name in sorted(seconds, key=lambda name: comparison.ratios(name).median):
        ratio, reached = comparison.ratios(name), verdict(comparison.ratios(name).median, comparison.goals.get(name))
        result = f"{spread(seconds[name]).median * 1e6:12.1f}   {ratio.median:5.3f} ({ratio.low:.3f} to {ratio.high:.3f})"
        print(f"  {name:{wide}}  {result}      {reads[name]:6.3f}   {reached}".rstrip())
    for name, error in left_out.items():
        print(f"  {name} is left out: {error}")
    weights = {answer["weights"] for name in (REFERENCE, OURS) for answer in answers[name]}
    print(f"\nlargest difference between the weights ours and the bare loop come to: {max(weights) - min(weights):.1e}")
    rows = [{"what": "reads from the device in a step", "value": reads[OURS], "goal": 0}]
    result = {"about": about, "comparisons": [record(comparison)], "rows": rows, "reads": reads, "left_out": left_out}
    save(arguments.json, result)


if __name__ == "__main__":
    main()
