"""Trace a network once as a graph, for all sizes and thresholds.

`torch.export` traces the network with symbolic sizes. Decisions of the network that depend on the size of its input become fixed
in the graph. Rows and columns are therefore declared as multiples of the smallest number for which no decision depends on them.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from forestgaps_core.errors import CheckpointError

MULTIPLES = (16, 32, 64, 128, 256)
# Rows and columns in multiples: a graph may have conditions on sizes, such as odd multiples only, and rejects other sizes.
FOLLOWED = ((2, 1), (1, 4), (5, 3))
MOST = 2**15  # pixels per side, samples, thresholds: far above the limits of memory

Tensors = tuple[Tensor, Tensor, Tensor]


@frozen(eq=False)
class TracedNetwork:
    """A graph from (dsm, valid, thresholds) to logits. Rows and columns must be multiples of `multiple`."""

    graph: ExportedProgram
    multiple: int


def trace_network(network: nn.Module) -> TracedNetwork:
    """Return the graph of a network in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The network cannot be traced; the message contains the error of torch.
    """
    reason = ""
    for multiple in MULTIPLES:
        try:
            with torch.no_grad(), silence_logs():
                graph = torch.export.export(
                    network, make_inputs(2, 3 * multiple, 4 * multiple, 3), dynamic_shapes=make_dynamic_shapes(multiple)
                )
                follow = graph.module()
                for rows, columns in FOLLOWED:
                    follow(*make_inputs(1, rows * multiple, columns * multiple, 2))
            return TracedNetwork(graph, multiple)
        except Exception as error:  # torch raises the error of the traced operation
            reason = get_first_line(error)
            if not depends_on_size(error):
                break
    raise CheckpointError(
        f"{type(network).__name__} cannot be exported: {reason}. Torch must be able to follow its forward pass without running "
        "it: no decision on values of tensors, no NumPy, and only operations of torch; rewrite that operation, or map with torch"
    )


def depends_on_size(error: BaseException) -> bool:
    """Return whether tracing with a larger multiple may succeed."""
    return any(phrase in str(error) for phrase in ("Constraints violated", "specialized", "Guard failed"))


def make_dynamic_shapes(multiple: int) -> tuple[dict[int, object], ...]:
    samples, count = Dim("samples", min=1, max=MOST), Dim("count", min=1, max=MOST)
    rows, columns = (multiple * Dim(name, min=1, max=MOST // multiple) for name in ("row_steps", "column_steps"))
    return ({0: samples, 2: rows, 3: columns}, {0: samples, 2: rows, 3: columns}, {0: samples, 1: count})


def make_inputs(samples: int, rows: int, columns: int, count: int, seed: int = 0) -> Tensors:
    """Return a rough surface at 400 m with holes, and ascending thresholds, different for each sample."""
    random = torch.Generator().manual_seed(seed)
    slope = torch.linspace(0, 30, columns)
    dsm = 400 + slope + 25 * torch.rand((samples, 1, rows, columns), generator=random)
    valid = torch.rand((samples, 1, rows, columns), generator=random) > 0.1
    valid[..., : rows // 4, : columns // 4] = False
    # The predictor fills them in the same way, with the median of the valid pixels.
    filled = torch.where(valid, dsm, dsm[valid].median())
    thresholds = 0.5 + (30 * torch.rand((samples, count), generator=random)).sort(dim=1).values
    return filled, valid, thresholds


def get_first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextmanager
def silence_logs() -> Iterator[None]:
    """Silence the messages of tracers and compilers for their own developers."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
