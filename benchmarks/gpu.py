"""How near to the machine the networks come, on a GPU: one command, nothing fetched, eight minutes at most.

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --device cpu --quick        # checks the benchmark itself; its numbers mean little

Runs from a plain checkout, nothing installed but torch (2.11 or newer), attrs, pluggy and numpy, on Python 3.11 or newer. Data are
made up in memory. Networks: `ground_unet`, as in the recipe `best`, and `height_unet`.

What is measured, and how to read it:

- Ceilings: a matrix product of 8192 x 8192 in TF32 and in bf16, and a copy of 1 GiB (bytes read and written), each in this run.
- `images/s` of 256 x 256 tiles. `train` is a whole step of the project's Trainer on tiles that are on the device: augmentation,
  targets, forward, loss, backward, clipping, AdamW. `predict` is the forward pass. Settings: fp32 (with TF32), bf16, bf16 compiled,
  and bf16 as a CUDA graph (of network, loss, backward, clipping and optimizer, on one prepared batch). The batch is doubled in bf16
  until memory ends; all settings then take the quickest.
- `TFLOP/s`: operations of convolutions and matrix products as torch counts them, and their fraction of the peak of that precision.
- `GB/s`: bytes of the inputs and outputs of every operation run one by one, views left out, and their fraction of the copy ceiling.
  More than the whole ceiling means that operations were fused or met their inputs in the cache.
- `bound`, in the JSON: the larger of these two shares, of what counts.
- `busy`: fraction of the time in which the GPU ran a kernel, by torch's profiler; in the rest it waited for the host.
- Waits: how often a training step made the host wait for the device (torch.cuda.set_sync_debug_mode).
- The whole loop: epochs of `Trainer.fit` with loader processes; images/s, as a fraction of those of the step alone; and in which
  fraction of steps the next batch was on the device before the last kernel of the step ended.

A line is printed, and the JSON written, as soon as a number is there; what fails is kept with its reason. Nothing new is begun
after `--seconds`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("augmentations", "losses", "models", "normalization", "optimizers")
sys.path[:0] = [str(ROOT), *(str(ROOT / "plugins" / f"forestgaps-{name}") for name in PACKAGES)]
try:
    import torch
    from torch import Tensor, nn
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    from forestgaps_augmentations import CanopyMix, CanopyStretch, FlipRotate, Hills, Tilt
    from forestgaps_core import BatchMaker, Environment, Thresholds, Tile, TileLoader, Tiles, Trainer
    from forestgaps_core.training.optimizer_step import clip_gradients
    from forestgaps_losses.bce import Bce
    from forestgaps_models import GroundUNet, HeightUNet
    from forestgaps_normalization.batch import BatchNormConfig
    from forestgaps_optimizers import AdamW
except ModuleNotFoundError as error:
    sys.exit(f"{error.name} is missing: this benchmark needs torch 2.11 or newer, attrs, pluggy and numpy")

LEVELS = (2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)  # those of the recipe, as is all below
AUGMENTATIONS = [
    *(CanopyStretch(factor=1.5).build(), CanopyMix(swap=0.2).build(), FlipRotate().build()),
    *(Tilt(slope=0.5).build(resolution_m=1.0), Hills(relief_m=12.0).build(resolution_m=1.0)),
]
THRESHOLDS = Thresholds(values=LEVELS, sampled=4)
NETWORKS = {"ground_unet": GroundUNet(), "height_unet": HeightUNet()}
SETTINGS = {  # precision, compiled, as a graph
    "bf16": ("bf16", False, False),
    "fp32": ("32", False, False),
    "bf16 graph": ("bf16", False, True),
    "bf16 compiled": ("bf16", True, False),
}
LARGEST = 4096  # samples of a batch
GOAL = 0.60


class Source:
    """Simulated enough: smooth ground, rough canopy; made once, read as a crop."""

    def __init__(self, size: int, samples: int) -> None:
        made = torch.Generator().manual_seed(0)
        self.size, self.samples, self.side = size, samples, 2048 if size > 64 else 256
        coarse = torch.rand(1, 1, 16, 16, generator=made)
        ground = nn.functional.interpolate(coarse, (self.side, self.side), mode="bicubic")[0, 0] * 200 + 400
        canopy = torch.rand(1, 1, self.side // 8, self.side // 8, generator=made) * 45 - 12
        height = nn.functional.interpolate(canopy, (self.side, self.side), mode="bilinear")[0, 0].clamp(min=0)
        self.height, self.dsm = height, ground + height
        self.valid = torch.ones(size, size, dtype=torch.bool)

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int, draw: int) -> Tile:
        room = self.side - self.size
        row, column = index * 7919 % room, index * 104_729 % room
        inside = slice(row, row + self.size), slice(column, column + self.size)
        return Tile(dsm=self.dsm[inside].clone(), height=self.height[inside].clone(), valid=self.valid)


class Bytes(TorchDispatchMode):
    """Adds up the bytes of what operations read and write, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        view = any(part.alias_info is not None and not part.alias_info.is_write for part in function._schema.returns)
        if not view:
            leaves = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.count += sum(min(x.nbytes, x.untyped_storage().nbytes()) for x in leaves if isinstance(x, Tensor))
        return out


class Report:
    """Everything found, printed and written as it comes."""

    def __init__(self, path: Path | None, seconds: float, device: torch.device) -> None:
        self.path, self.device, self.until = path, device, time.monotonic() + seconds
        self.content: dict[str, Any] = {}

    def put(self, place: tuple[str, ...], value: Any, line: str = "") -> None:
        table = self.content
        for folder in place[:-1]:
            table = table.setdefault(folder, {})
        table[place[-1]] = value
        if line:
            print(line, flush=True)
        if self.path is not None:
            self.path.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")

    @contextmanager
    def attempt(self, place: str, needs_s: float = 5.0) -> Iterator[None]:
        """Keep what fails with its reason; leave out what there is no more time for."""
        try:
            if time.monotonic() + needs_s > self.until:
                raise TimeoutError("no time was left")
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self.put(("failed", place), reason, f"{place}: {reason[:110]}")
        empty(self.device)


def empty(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(job: Callable[[], object], device: torch.device, *, least: float = 0.5, warm: int = 3) -> float:
    """Of one run of a job, over as many as take `least` seconds."""
    for _ in range(warm):
        job()
    wait(device)
    times = 1
    while True:
        start = time.perf_counter()
        for _ in range(times):
            job()
        wait(device)
        taken = time.perf_counter() - start
        if taken >= least or times >= 10_000:
            return taken / times
        times = max(times + 1, min(10_000, int(1.3 * times * least / max(taken, 1e-6))))


def ceilings(report: Report, quick: bool) -> None:
    device, side, size = report.device, 512 if quick else 8192, 2**22 if quick else 2**30
    torch.set_float32_matmul_precision("high")  # TF32
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
        out = torch.empty_like(a)
        rate = 2 * side**3 / seconds_of(partial(torch.matmul, a, b, out=out), device, least=0.02 if quick else 0.5) / 1e12
        report.put(("ceilings", f"{name} TFLOP/s"), rate, f"  matrix product, {name:4}   {rate:8.2f} TFLOP/s")
    source = torch.empty(size // 4, device=device).normal_()
    rate = 2 * size / seconds_of(partial(torch.empty_like(source).copy_, source), device, least=0.02 if quick else 0.5) / 1e9
    report.put(("ceilings", "copy GB/s"), rate, f"  copy                   {rate:8.0f} GB/s")


# --- one network in one setting -------------------------------------------------------------------------------------


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    config = NETWORKS[name]
    return config.build(normalization=BatchNormConfig().build(), resolution_m=1.0)


def trainer_of(name: str, precision: str, device: torch.device, *, compiled: bool) -> Trainer:
    model, loss = network(name).to(device), Bce().build()
    return Trainer(
        model=model,
        loss=loss,
        optimizer=AdamW(learning_rate=2e-3).build([model]),
        make_train_batch=BatchMaker(thresholds=THRESHOLDS, augmentations=AUGMENTATIONS),
        make_evaluation_batch=BatchMaker(thresholds=Thresholds(values=LEVELS)),
        environment=Environment(device=device.type, precision=precision, compile=compiled),
    )


def tiles_of(size: int, batch: int, device: torch.device) -> Tiles:
    return next(iter(TileLoader(Source(size, batch), batch_size=batch))).to(device)


def job_of(name: str, kind: str, setting: str, tiles: Tiles) -> Callable[[], object]:
    """A training step or a forward pass, ready to be called again and again."""
    precision, compiled, graphed = SETTINGS[setting]
    device = tiles.dsm.device
    trainer = trainer_of(name, precision, device, compiled=compiled)
    if kind == "train":
        return graph_of_step(trainer, tiles) if graphed else partial(trainer.train_step, [tiles])
    batch = trainer.make_evaluation_batch(tiles)
    trainer.model.eval()

    def forward() -> Tensor:
        with torch.inference_mode():
            return trainer._logits(batch)

    return captured(forward) if graphed else forward


def captured(job: Callable[[], object]) -> Callable[[], object]:
    """The job as a CUDA graph."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            job()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        job()
    return graph.replay


def graph_of_step(trainer: Trainer, tiles: Tiles) -> Callable[[], object]:
    """Network, loss, backward, clipping and optimizer as one graph, on one prepared batch."""
    batch = trainer.make_train_batch(tiles)
    parameters = [parameter for parameter in trainer.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=torch.tensor(2e-3, device=tiles.dsm.device), fused=True, capturable=True)
    trainer.model.train()

    def step() -> None:
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False):
            logits = trainer.model(batch.dsm, batch.valid, batch.thresholds)
        trainer.loss(logits.float(), batch).backward()  # type: ignore[misc]
        clip_gradients([parameter.grad for parameter in parameters if parameter.grad is not None], 1.0)
        optimizer.step()

    return captured(step)


def counted(job: Callable[[], object]) -> tuple[int, int]:
    """Floating-point operations and bytes of one run, operation by operation."""
    operations, moved = FlopCounterMode(display=False), Bytes()
    with operations:
        job()
    with moved:
        job()
    return operations.get_total_flops(), moved.count


def largest_batch(name: str, size: int, device: torch.device, report: Report, quick: bool) -> int:
    """The batch of the quickest training step in bf16, per image; doubled until memory ends or nothing is gained."""
    best, best_rate, batch, tried = 1, 0.0, 1 if quick else 8, {}
    while batch <= (2 if quick else LARGEST) and time.monotonic() < report.until:
        try:
            rate = batch / seconds_of(
                job_of(name, "train", "bf16", tiles_of(size, batch, device)),
                device,
                least=0.02 if quick else 0.3,
                warm=1 if quick else 2,
            )
        except torch.OutOfMemoryError:
            tried[batch] = "out of memory"
            break
        tried[batch] = rate
        memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        report.put(("networks", name, "batches"), tried, f"  {name}: batch {batch:5}: {rate:9.1f} images/s, peak {memory:.1f} GiB")
        if rate > best_rate:
            best, best_rate = batch, rate
        batch *= 2
        empty(device)
    report.put(("networks", name, "batches"), tried)
    return best


def measured(
    name: str, kind: str, setting: str, tiles: Tiles, counts: dict[Any, tuple[int, int]], report: Report, quick: bool
) -> None:
    device, batch = tiles.dsm.device, len(tiles.dsm)
    if (name, kind, batch) not in counts:
        counts[name, kind, batch] = counted(job_of(name, kind, "bf16", tiles))
    operations, moved = counts[name, kind, batch]
    job = job_of(name, kind, setting, tiles)
    seconds = seconds_of(job, device, least=0.02 if quick else 1.0, warm=1 if quick else 5)
    ceiling, copy = report.content["ceilings"][f"{setting.split()[0]} TFLOP/s"], report.content["ceilings"]["copy GB/s"]
    rate, speed = operations / seconds / 1e12, moved / seconds / 1e9
    found = {"batch": batch, "images/s": batch / seconds, "ms": seconds * 1e3, "TFLOP/s": rate, "of matrix product": rate / ceiling}
    found |= {"GB/s": speed, "of copy": speed / copy, "bound": max(rate / ceiling, speed / copy)}
    if device.type == "cuda":
        found |= profiled(job)
    busy = f"{found['busy']:5.0%} {found['kernels']:7.0f}" if "busy" in found else f"{'':13}"
    line = f"  {name:12} {kind:8} {setting:14} {batch:6} {found['images/s']:9.1f} {rate:8.2f} {rate / ceiling:6.1%}"
    report.put(("networks", name, kind, setting), found, f"{line} {speed:8.0f} {speed / copy:7.1%} {busy}")


def profiled(job: Callable[[], object], runs: int = 5) -> dict[str, float]:
    """Fraction of the time the GPU ran kernels, and kernels in a run."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(runs):
            job()
        torch.cuda.synchronize()
    spans = sorted(spans_of(profile))
    return {"busy": busy_share(spans), "kernels": len(spans) / runs}


def busy_share(spans: list[tuple[float, float, str]]) -> float:
    """Of the time from the first start to the last end, what any of the spans, in order of their starts, covers."""
    covered, end = 0.0, spans[0][0]
    for start, stop, _ in spans:
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered / (end - spans[0][0])


def spans_of(profile: Any) -> list[tuple[float, float, str]]:
    """What ran on the device: start and end in microseconds, and its name."""
    on_device = (event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA)
    return [(event.time_range.start, event.time_range.end, event.name) for event in on_device]


def waits_in_a_step(name: str, tiles: Tiles) -> int:
    """Synchronizations of host and device in a training step."""
    trainer = trainer_of(name, "bf16", tiles.dsm.device, compiled=False)
    trainer.train_step([tiles])
    wait(tiles.dsm.device)
    if tiles.dsm.device.type != "cuda":
        return reads_in(partial(trainer.train_step, [tiles]))
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.train_step([tiles])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def reads_in(job: Callable[[], object]) -> int:
    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    with Reads() as reads:
        job()
    return reads.count


# --- the whole loop -------------------------------------------------------------------------------------------------


def whole_loop(name: str, size: int, batch: int, bare_rate: float, report: Report, quick: bool) -> None:
    device, steps = report.device, 3 if quick else 40
    environment = Environment(device=device.type)
    loader = TileLoader(
        Source(size, batch * steps),
        batch_size=batch,
        shuffle=True,
        workers=0 if quick else environment.loader_processes(device),
        pin_memory=device.type == "cuda",
    )
    trainer = trainer_of(name, "bf16", device, compiled=False)
    trainer.fit(loader, epochs=1)  # starts the loader's processes and warms up
    wait(device)
    start = time.perf_counter()
    trainer.fit(loader, epochs=2)
    wait(device)
    rate = batch * steps / (time.perf_counter() - start)
    found: dict[str, float] = {"images/s": rate, "of the bare step": rate / bare_rate}
    if device.type == "cuda":
        found |= ahead(trainer, loader)
    text = ", ".join(f"{key} {value:.3g}" for key, value in found.items())
    report.put(("networks", name, "whole loop"), found, f"  {name}: whole loop, {loader.workers} loader processes: {text}")


def ahead(trainer: Trainer, loader: TileLoader) -> dict[str, float]:
    """In which fraction of steps the next batch was on the device before the step's last kernel ended, and waits for the host."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        trainer.fit(loader, epochs=3)
        torch.cuda.synchronize()
    spans = sorted(spans_of(profile))
    # Of the copies of a batch the largest are its planes; the optimizer's kernel ends a step.
    ends = [stop for _, stop, name in spans if "adam" in name.lower()]
    copies = [stop for start, stop, name in spans if "HtoD" in name and stop - start > 5]
    steps = steps_of(ends)
    before = [any(low < copy < high for copy in copies) for low, high in pairwise(steps)]
    return {"next batch there": sum(before) / max(len(before), 1), "busy": busy_share(spans)}


def steps_of(ends: list[float], apart: float = 300.0) -> list[float]:
    """The last of each group of times that lie within so many microseconds."""
    return [end for end, after in zip(ends, [*ends[1:], float("inf")], strict=True) if after - end > apart]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--size", type=int, help="side of a tile, pixels; default 256, with --quick 64")
    parser.add_argument("--quick", action="store_true", help="small and few: only to see that it runs")
    parser.add_argument("--seconds", type=float, default=450.0, help="nothing new is begun after so many")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no GPU here; --device cpu --quick checks the benchmark itself")
    device, quick = torch.device(arguments.device), arguments.quick
    size = arguments.size or (64 if quick else 256)
    report = Report(arguments.json, arguments.seconds, device)
    name_of = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    )
    about = {"device": name_of, "torch": str(torch.__version__), "cuda": torch.version.cuda, "python": platform.python_version()}
    report.put(("about",), {**about, "tile": size}, ", ".join(f"{key} {value}" for key, value in about.items()) + "\n")
    ceilings(report, quick)
    torch.backends.cudnn.benchmark = True
    print()
    best = {}
    for name in arguments.networks:
        with report.attempt(f"{name}, batches"):
            best[name] = largest_batch(name, size, device, report, quick)
    titles = f"{'images/s':>9} {'TFLOP/s':>8} {'of max':>6} {'GB/s':>8} {'of max':>7}  busy kernels"
    print(f"\n  {'network':12} {'job':8} {'setting':14} {'batch':>6} {titles}")
    counts: dict[Any, tuple[int, int]] = {}
    settings = ["bf16", "fp32"] if device.type == "cpu" else list(SETTINGS)
    for setting in settings:
        for name, batch in best.items():
            for kind in ("train", "predict"):
                with report.attempt(f"{name}, {kind}, {setting}", needs_s=60.0 if SETTINGS[setting][1] else 8.0):
                    try:
                        measured(name, kind, setting, tiles_of(size, batch, device), counts, report, quick)
                    except torch.OutOfMemoryError:  # fp32 takes twice the memory
                        empty(device)
                        measured(name, kind, setting, tiles_of(size, max(batch // 2, 1), device), counts, report, quick)
            if setting == "bf16":
                with report.attempt(f"{name}, waits"):
                    waits = waits_in_a_step(name, tiles_of(size, batch, device))
                    report.put(("networks", name, "waits"), waits, f"  {name}: a training step waits for the device {waits} times")
                with report.attempt(f"{name}, whole loop", needs_s=20.0):
                    bare = report.content["networks"][name]["train"]["bf16"]["images/s"]
                    whole_loop(name, size, batch, bare, report, quick)
    summary(report)


def summary(report: Report) -> None:
    """The fraction of the bound that counts, beside the goal."""
    for name, found in report.content.get("networks", {}).items():
        for kind in ("train", "predict"):
            reached = {setting: row["bound"] for setting, row in found.get(kind, {}).items() if setting.startswith("bf16")}
            if reached:
                setting = max(reached, key=lambda one: found[kind][one]["images/s"])
                fraction = reached[setting]
                text = f"  {name}, {kind}: quickest in {setting}, at {fraction:.0%} of the bound that counts"
                report.put(
                    ("summary", f"{name}, {kind}"), {"setting": setting, "bound": fraction, "goal": GOAL}, f"{text}; goal 60%"
                )
    if report.path is not None:
        print(f"wrote {report.path}")


if __name__ == "__main__":
    main()
