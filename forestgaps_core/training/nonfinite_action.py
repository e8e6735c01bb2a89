"""Look for steps with non-finite loss or gradients at intervals, report them, and stop if the run file says so.

`nonfinite_detection` detects them on the device, `nonfinite_report` examines them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field

from forestgaps_core.components import Batch, Tiles
from forestgaps_core.errors import NumbersError
from forestgaps_core.runtime.distributed import Processes
from forestgaps_core.runtime.environment import reseed
from forestgaps_core.runtime.rng import seed_of_step
from forestgaps_core.training.forward_pass import ForwardPass
from forestgaps_core.training.nonfinite_detection import NonfiniteDetector
from forestgaps_core.training.nonfinite_report import (
    NonfiniteReport,
    StepPosition,
    describe_tile,
    inspect_step,
    save_report,
)

log = logging.getLogger("forestgaps")


@define(eq=False, kw_only=True)
class NonfiniteAction:
    """What the watch of a run saw.

    Attributes:
        folder: For what bad steps were made of; None keeps nothing.
        processes: Those of the run, which tell together.
        since: The first step since the watch was read.
    """

    watch: NonfiniteDetector
    folder: Path | None
    processes: Processes
    since: StepPosition = field(factory=lambda: StepPosition(step=0, epoch=0, batch=0))

    def forget(self, now: StepPosition) -> None:
        self.watch.forget()
        self.since = now

    def check(self, now: StepPosition, accumulate: int, look: Callable[[StepPosition], NonfiniteReport]) -> None:
        """Ask the watch for the steps since it was last asked.

        Args:
            accumulate: Batches to a step.
            look: Takes a step apart; called for the first bad one.

        Raises:
            NumbersError: A step was not finite, and the run is to stop then.
        """
        since, steps = self.since, now.step - self.since.step
        self.since = now
        good = self.watch.read()
        if good is None:
            return
        finding = look(StepPosition(step=since.step + good, epoch=since.epoch, batch=since.batch + good * accumulate))
        kept = save_report(finding, self.folder, self.processes.rank)
        sentences = self.processes.gathered(finding.sentence() + (f"; kept in {kept}" if kept else ""))
        sentence = "; ".join(dict.fromkeys(sentences))
        skipped = int(self.watch.skipped.item())
        self.watch.skipped.zero_()
        if self.watch.skip and skipped < max(steps, 2):
            log.warning("%s; left out, with %d such steps of the last %d", sentence, skipped, steps)
            return
        advice = "its data, a lower rate, or training.nonfinite = 'skip' may help" if not skipped else "so were all steps since"
        raise NumbersError(f"{sentence}; {advice}. The weights were not moved; checkpoints of before are whole")


def describe_place(train: object, read: Iterable[Any]) -> Callable[[int], str]:
    """Words for the tile of a sample, by its index, in what was read of a loader."""
    source = getattr(train, "source", None)
    draws = {
        index: draw for t in read if isinstance(t, Tiles) for index, draw in zip(t.index.tolist(), t.draw.tolist(), strict=True)
    }
    return lambda index: describe_tile(source, index, draws.get(index, 0))


def inspect_again(
    forward: ForwardPass,
    moment: StepPosition,
    tiles: Sequence[Any],
    make_batch: Callable[[Any], Batch],
    total_steps: int | None,
    place: Callable[[int], str],
) -> NonfiniteReport:
    """Make the batches of a step again and inspect them; an empty report if the loader cannot read the step again.

    Args:
        tiles: What the loader yielded for the step.
        place: Words for the tile of a sample, by its index.
    """
    if not tiles:
        return NonfiniteReport(moment=moment)
    forward.model.train()
    reseed(forward.device, seed_of_step(forward.environment.seed, moment.step))
    batches = [make_batch(part.to(forward.device)) for part in tiles]
    position = {"step": moment.step, "epoch": moment.epoch, "total_steps": total_steps}
    loss = partial(forward.compute_loss, split="train", position=lambda: position)
    with forward.values.collect("", None):
        return inspect_step(batches, moment, forward.model, forward.compute_logits, loss, place)
