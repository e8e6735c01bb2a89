"""What a bad step was made of: its batch made again, looked at part by part, and kept in a file."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from forestgaps_core.components import Batch
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.files.atomic import new_file, write_json
from forestgaps_core.files.checkpoint import write_state_file

FOLDER = "faults"
NAMED = 5  # of tiles and parameters in a sentence
log = logging.getLogger("forestgaps")


@frozen(kw_only=True)
class StepPosition:
    """A step of a run."""

    step: int
    epoch: int
    batch: int

    def __str__(self) -> str:
        return f"step {self.step + 1} (epoch {self.epoch + 1}, batch {self.batch + 1})"


@define(kw_only=True)
class NonfiniteReport:
    """What was not finite in a step.

    Attributes:
        causes: Sentences, the earliest in the computation first.
        tiles: Places of the samples that are not finite, or all of the step where none stands out.
        batches: The batches of the step, on the CPU.
    """

    moment: StepPosition
    causes: list[str] = field(factory=list)
    tiles: list[str] = field(factory=list)
    batches: list[Batch] = field(factory=list)

    def sentence(self) -> str:
        what = "; ".join(self.causes) or "the loss or a gradient was not finite, and is finite now: the step is not the same twice"
        where = f"; tiles: {join_names(self.tiles)}" if self.tiles else ""
        return f"{self.moment}: {what}{where}"


def inspect_step(
    batches: Sequence[Batch],
    moment: StepPosition,
    model: nn.Module,
    forward: Callable[[Batch], Tensor],
    loss: Callable[[Tensor, Batch], Tensor],
    place: Callable[[int], str],
) -> NonfiniteReport:
    """Take a step apart. Gradients and the buffers of the model are left as they were.

    Args:
        forward: Logits of a batch, in the step's own mode and precision.
        place: Words for the tile of a sample, by its index.
    """
    finding = NonfiniteReport(moment=moment, batches=[batch.to("cpu") for batch in batches])
    weights = [name for name, parameter in model.named_parameters() if not is_all_finite(parameter)]
    if weights:
        finding.causes.append(f"weights that are not finite: {join_names(weights)}")
    bad: list[int] = []
    every: list[int] = []
    with keep_state(model):
        for number, batch in enumerate(batches):
            index = batch.index.tolist() if batch.index is not None else list(range(len(batch)))
            every += index
            inputs = ~(batch.dsm.isfinite() | ~batch.valid).flatten(1).all(1) | ~batch.thresholds.isfinite().all(1)
            targets = ~batch.target.isfinite().flatten(1).all(1)
            for what, rows in (("an input", inputs), ("a target", targets)):
                if rows.any():
                    finding.causes.append(f"{what} is not finite at a valid pixel")
                    bad += [index[row] for row in rows.nonzero()[:, 0].tolist()]
            logits = forward(batch)
            rows = ~logits.isfinite().flatten(1).all(1)
            if rows.any() and not bad:
                finding.causes.append(f"what the network returns is not finite for {int(rows.sum())} of {len(batch)} tiles")
                bad += [index[row] for row in rows.nonzero()[:, 0].tolist()]
            value = loss(logits, batch)
            if not bool(value.isfinite()):
                finding.causes.append(
                    f"the loss{f' of batch {number + 1} of the step' if len(batches) > 1 else ''} is {float(value.detach())}"
                )
            elif value.requires_grad:
                torch.autograd.backward(value)
        gradients = [name for name, p in model.named_parameters() if p.grad is not None and not is_all_finite(p.grad)]
        if gradients:
            finding.causes.append(f"gradients that are not finite: {join_names(gradients)}")
    finding.causes = list(dict.fromkeys(finding.causes))
    finding.tiles = [place(index) for index in dict.fromkeys(bad or every)]
    return finding


@contextlib.contextmanager
def keep_state(model: nn.Module) -> Iterator[None]:
    """The model's gradients and buffers (running statistics) as they were, after the block."""
    gradients = [p.grad for p in model.parameters()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    try:
        for parameter in model.parameters():
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)


def is_all_finite(tensor: Tensor) -> bool:
    return bool(tensor.detach().isfinite().all())


def join_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def describe_tile(source: Any, index: int, draw: int) -> str:
    """Words for a tile: what its source says of it, or its index."""
    with contextlib.suppress(Exception):  # it is asked for the sake of a message
        if hasattr(source, "place"):
            return str(source.place(index, draw))
        if hasattr(source, "site"):
            return f"tile {index} of site {source.site(index)}"
    return f"tile {index}"


def save_report(finding: NonfiniteReport, folder: Path | None, rank: int = 0) -> Path | None:
    """Keep the batches and the finding in the folder; the tensors' file, or None where that is not possible."""
    if folder is None:
        return None
    of = f"-process-{rank}" if rank else ""
    path = folder / f"step-{finding.moment.step + 1:06d}{of}.safetensors"
    try:
        with new_file(path) as file:
            write_state_file(file, [to_plain(batch) for batch in finding.batches])
        write_json(path.with_suffix(".json"), {"where": str(finding.moment), "causes": finding.causes, "tiles": finding.tiles})
    except (ForestgapsError, OSError, ValueError) as error:
        log.warning("the batch of %s could not be kept: %s", finding.moment, error)
        return None
    return path


def to_plain(batch: Batch) -> Mapping[str, Tensor | None]:
    names = ("dsm", "thresholds", "target", "valid", "height", "index")
    return {name: getattr(batch, name) for name in names}
