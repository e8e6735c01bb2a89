"""Whether a run would begin: all that training does up to the end of a first epoch of one batch, in memory (`config check`)."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from math import nan
from pathlib import Path
from typing import Any

import torch
from attrs import define, evolve

from forestgaps_core.components import Tiles
from forestgaps_core.config.run_file import Config
from forestgaps_core.contracts import CheckedAugmentation
from forestgaps_core.data.loader import TileLoader
from forestgaps_core.errors import PluginError
from forestgaps_core.inference.input_layers import call_network
from forestgaps_core.inference.model_lookup import require_run
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.builder import BuiltRun, build_run, load_start_weights
from forestgaps_core.runs.run import restore_run
from forestgaps_core.runs.run_folder import write_run_folder
from forestgaps_core.training.trainer import Trainer


def count_operations(trainer: Trainer, tiles: Tiles) -> float:
    """Multiply-adds of a forward pass for one pixel and all thresholds, as torch counts them: convolutions and products."""
    from torch.utils.flop_counter import FlopCounterMode

    batch = trainer.make_evaluation_batch(tiles)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call_network(trainer.model, batch)
    return float(counter.get_total_flops()) / 2 / batch.valid.numel()


def try_run(config: Config, plugins: Plugins) -> dict[str, Any]:
    """Do in memory all that `train_model` does up to the end of a first epoch of one batch; facts about the run.

    Callbacks that write to a server are built, and hear nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        run = build_run(config, folder, plugins, rehearsal=True)
        load_start_weights(run, plugins)
        write_run_folder(run, folder, plugins)
        return rehearse(run)


def try_resuming(folder: Path, plugins: Plugins) -> dict[str, Any]:
    """The same for `resume_training`: nothing in the run's folder changes."""
    require_run(folder, "config check", plugins)
    with tempfile.TemporaryDirectory() as scratch:
        run = restore_run(folder, plugins, Path(scratch), rehearsal=True)
        facts = {"epochs done": run.trainer.epoch}
        run.trainer.stopped = None
        return {**facts, **rehearse(run)}


def rehearse(run: BuiltRun) -> dict[str, Any]:
    """Train with one batch, validate with one; the callbacks hear all events, and what they print is dropped."""
    trainer, augmentations = run.trainer, run.augmentations
    loaders = {split: run.loader(split) for split in ("train", "validation", "test")}
    train = FirstBatches(loaders["train"], trainer.accumulate)
    validation = FirstBatches(loaders["validation"], 1, partial(trainer.stop, "checked"))
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.fit(train, validation, epochs=max(run.config.training.epochs, trainer.epoch + 1))
        with torch.inference_mode():
            for batch in FirstBatches(loaders["test"], 1):
                trainer.make_evaluation_batch(batch.to(run.device))
    tiles = next(iter(FirstBatches(loaders["train"], 1))).to(run.device)
    check_valid_pixels(augmentations, tiles)
    for loader in loaders.values():
        loader.close()
    return {
        "device": str(run.device),
        "tiles": {split: len(getattr(run.data, split)) for split in loaders},
        "resolution_m": run.data.resolution_m,
        "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
        "multiply-adds per pixel": round(count_operations(trainer, tiles)),
        "steps": trainer.total_steps,
        "loss of one batch": round(trainer.scores.get("train/loss", nan), 4),
    }


def check_valid_pixels(augmentations: Sequence[CheckedAugmentation], tiles: Tiles) -> None:
    """Require that each augmentation keeps invalid pixels invalid, of which a part is added, and leaves valid ones.

    Raises:
        PluginError: Names the augmentation.
    """
    valid = tiles.valid.clone()
    valid[..., : valid.shape[-2] // 2, : valid.shape[-1] // 2] = False
    tiles = evolve(tiles, valid=valid)
    for augmentation in augmentations:
        changed = augmentation(tiles)
        before, after = tiles.valid.sum((1, 2, 3)), changed.valid.sum((1, 2, 3))
        if (after > before).any():
            raise PluginError(f"{augmentation.errors.name()} makes invalid pixels valid. Move `tiles.valid` with the DSM")
        if before.any() and not after.any():
            raise PluginError(f"{augmentation.errors.name()} makes all pixels invalid, so that nothing is left to learn from")
        tiles = changed


@define(eq=False)
class FirstBatches:
    """The first batches of an epoch of a loader, which says that it has all of them, as it would in the run."""

    loader: TileLoader
    count: int
    then: Callable[[], object] | None = None

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Tiles]:
        self.loader.seek(0, 0)
        yield from islice(self.loader, self.count)
        if self.then is not None:
            self.then()

    def read(self, epoch: int, batch: int) -> Tiles:
        return self.loader.read(epoch, batch)

    def weight(self, batch: int) -> float:
        return self.loader.weight(batch)

    def seek(self, epoch: int, batch: int = 0) -> None:
        """Always from the start: any batch serves to try."""

    @property
    def source(self) -> Any:
        return self.loader.source
