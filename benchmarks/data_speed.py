"""Whether the data keep up: reading of tiles beside a memory copy, and the loader's time behind a training step.

    python benchmarks/data_speed.py --json data_speed.json

Reading: random windows of 256 x 256 pixels of both layers of a prepared folder, memory-mapped and in the disk's cache. `window` is
the reading alone, row by row into memory that is there; `tile` is what a loader does for a tile besides: look for pixels without
data and for values that are no elevation, and make a mask. The reference copies as many bytes from memory to memory, from random
places of an array as large as the folder. How to read it: speed beside that of the copy, of CPU time in turns (see `interleaved`);
goal at least 0.5 for `window`.

The loader: epochs of the Trainer with batches of 8 tiles of 256 x 256 pixels. With a network of no cost what is left is the loader
(and making batches: augmentation and targets); with ground_unet the same loader stands behind a real step. `alone` is the step on
a batch that is there. `not hidden` is the wall time an epoch takes beyond its steps alone, as a fraction of the loader's time: 1
where there is one thread for all, near 0 where other processes read ahead and there are processors for them; `of the step` says
what it costs. Wall times, so to be read on a quiet machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import Comparison, interleaved, record, save, spread, surroundings
from torch import Tensor, nn

from forestgaps_augmentations import CanopyMix, CanopyStretch, FlipRotate, Hills, Tilt
from forestgaps_core import BatchMaker, Environment, Thresholds, TileLoader, Trainer
from forestgaps_losses.bce import Bce
from forestgaps_models import GroundUNet
from forestgaps_normalization.batch import BatchNormConfig
from forestgaps_optimizers import AdamW
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_rasters.training.crops import SiteLayers

TILE, TILES, BATCH = 256, 400, 8
GOAL = 0.5  # speed beside a copy
HIDDEN_GOAL = 0.05  # of a step


def layers(folder: Path, side: int) -> SiteLayers:
    """One site of two layers, without an index."""
    (folder / "site").mkdir()
    random = np.random.default_rng(0)
    for layer in ("dsm", "height"):
        np.save(folder / "site" / f"{layer}.npy", random.random((side, side), np.float32) * 30)
    return SiteLayers(folder, ("site",))


def reading(maps: SiteLayers, side: int, rounds: int) -> Comparison:
    random = np.random.default_rng(1)
    windows = [Block(int(y), int(x), TILE, TILE) for y, x in random.integers(0, side - TILE, (TILES, 2))]
    flat = np.ones(2 * side * side, np.float32)
    starts = random.integers(0, flat.size - 2 * TILE * TILE, TILES)
    there = np.empty((2, TILE, TILE), np.float32)

    def copy() -> None:
        for start in starts:
            np.copyto(there.reshape(-1), flat[start : start + there.size])

    def window() -> None:
        for place in windows:
            there[0], there[1] = maps.crop(0, "dsm", place), maps.crop(0, "height", place)

    def tile() -> None:
        for place in windows:
            maps.tile(0, place, TILE)

    seconds = interleaved({"copy": copy, "window": window, "tile": tile}, rounds=rounds)
    return Comparison("reading tiles", seconds, reference="copy", goals={"window": 1 / GOAL})


class Windows:
    """Random windows as a source."""

    def __init__(self, maps: SiteLayers, side: int, samples: int) -> None:
        self.maps, self.side, self.samples = maps, side, samples

    def __len__(self) -> int:
        return self.samples

    def read(self, index: int, draw: int) -> Any:
        room = self.side - TILE
        return self.maps.tile(0, Block(draw % room, draw // room % room, TILE, TILE), TILE)


class NoCost(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        return self.weight.expand(len(dsm), thresholds.shape[1], *dsm.shape[-2:])


def free_loss(logits: Tensor, batch: object) -> Tensor:
    return logits[0, 0, 0, 0]


def trainer_of(model: nn.Module, loss: Any) -> Trainer:
    terrain = [config.build(resolution_m=1.0) for config in (Tilt(), Hills(relief_m=12))]
    augmentations = [CanopyStretch(factor=1.5).build(), CanopyMix(swap=0.2).build(), FlipRotate().build(), *terrain]
    maker = BatchMaker(thresholds=Thresholds(sampled=4), augmentations=augmentations)
    return Trainer(
        model=model,
        loss=loss,
        optimizer=AdamW().build([model]),
        make_train_batch=maker,
        environment=Environment(device="cpu"),
    )


def epoch_seconds(trainer: Trainer, loader: TileLoader) -> float:
    trainer.fit(loader, epochs=trainer.epoch + 1)  # starts the processes
    start = time.perf_counter()
    trainer.fit(loader, epochs=trainer.epoch + 1)
    return time.perf_counter() - start


def loading(maps: SiteLayers, side: int, batches: int, rounds: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    ground = GroundUNet().build(normalization=BatchNormConfig().build(), resolution_m=1.0)
    real, free = trainer_of(ground, Bce().build()), trainer_of(NoCost(), free_loss)
    tiles = TileLoader(Windows(maps, side, BATCH), batch_size=BATCH).read(0, 0)
    found = []
    for workers in (0, 1, 2):
        loader = TileLoader(Windows(maps, side, BATCH * batches), batch_size=BATCH, workers=workers)
        rows: dict[str, list[float]] = {"no cost": [], "ground_unet": [], "alone": [], "loader": []}
        for _ in range(rounds):
            rows["no cost"].append(epoch_seconds(free, loader) / batches)
            rows["ground_unet"].append(epoch_seconds(real, loader) / batches)
            start = time.perf_counter()
            for _ in range(batches):
                real.train_step([tiles])
            rows["alone"].append((time.perf_counter() - start) / batches)
            start = time.perf_counter()
            for number in range(batches):
                loader.read(0, number)
            rows["loader"].append((time.perf_counter() - start) / batches)
        ms = {name: spread(taken).median * 1e3 for name, taken in rows.items()}
        beyond = spread([whole - alone for whole, alone in zip(rows["ground_unet"], rows["alone"], strict=True)]).median * 1e3
        found.append({"workers": workers, **ms, "not hidden": beyond / ms["loader"], "of the step": beyond / ms["alone"]})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="side of the site, pixels")
    parser.add_argument("--batches", type=int, default=12, help="batches of an epoch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison")
    parser.add_argument("--json", type=Path, help="file for the seconds of every round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = surroundings(["torch", "numpy", "forestgaps-rasters"])
    print(", ".join(f"{name} {value}" for name, value in about.items()) + f"; {arguments.rounds} rounds\n")
    with tempfile.TemporaryDirectory() as name:
        maps = layers(Path(name), arguments.side)
        comparison = reading(maps, arguments.side, 3 * arguments.rounds)
        print(f"  {f'reading, {TILES} tiles':20}  GB per second   speed beside a copy (quartiles)")
        for job, seconds in comparison.seconds.items():
            ratio, rate = comparison.ratios(job), 8 * TILE * TILE * TILES / spread(seconds).median / 1e9
            cells = f"{1 / ratio.median:.3f} ({1 / ratio.high:.3f} to {1 / ratio.low:.3f})"
            reached = f"goal >= {GOAL}: {'met' if ratio.median <= 1 / GOAL else 'MISSED'}" if job == "window" else ""
            print(f"  {job:20}  {rate:13.2f}   {cells}   {reached}".rstrip())
        rows = loading(maps, arguments.side, arguments.batches, arguments.rounds)
    print("\n  loader processes   loader ms   no-cost network ms   ground_unet ms   alone ms   not hidden   of the step")
    for row in rows:
        cells = f"{row['loader']:9.1f} {row['no cost']:20.1f} {row['ground_unet']:16.1f} {row['alone']:10.1f}"
        print(f"  {row['workers']:16}   {cells} {row['not hidden']:12.2f} {row['of the step']:13.3f}")
    best = min(row["of the step"] for row in rows)
    kept = [{"what": "loader's time not behind the step, of the step, at best", "value": best, "goal": HIDDEN_GOAL}]
    save(arguments.json, {"about": about, "comparisons": [record(comparison)], "loading": rows, "rows": kept})


if __name__ == "__main__":
    main()
