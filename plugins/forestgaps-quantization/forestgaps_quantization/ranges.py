"""What range of values each convolution is given, observed by torchao."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from forestgaps_core.errors import CheckpointError
from forestgaps_quantization.choosing import CallRecorder
from forestgaps_quantization.scales import INPUT_MOST, InputScale
from forestgaps_quantization.surfaces import Surface

LEARNED = "activation_ranges"  # in the state of a callback: low and high by convolution, and what training made of them


def observe_ranges(
    network: nn.Module, surfaces: Sequence[Surface], thresholds: Sequence[float], keep: frozenset[str]
) -> dict[str, InputScale]:
    """The scale of the input of each convolution worth quantizing, in the order of their calls.

    The range is not from the least to the greatest value seen, but the one that loses least: rare values are cut where finer steps
    for all the others are worth more (torchao's `HistogramObserver`, which minimizes the mean square of the error).

    Args:
        network: In evaluation mode, on the CPU, batch norms folded.
        keep: See `CallRecorder.choose_layers`.
    """
    watching = CallRecorder(network)
    asked = torch.tensor([list(thresholds)], dtype=torch.float32)
    with torch.inference_mode():
        network(surfaces[0].dsm, surfaces[0].valid, asked)
    names = watching.choose_layers(keep)
    kinds = import_torchao()
    observers = {
        name: kinds.HistogramObserver(dtype=torch.uint8, qscheme=torch.per_tensor_affine, quant_min=0, quant_max=255)
        for name in names
    }
    hooks = [network.get_submodule(name).register_forward_pre_hook(make_observer_hook(observers[name])) for name in names]
    try:
        with torch.inference_mode(), silence_logs():
            for tile in surfaces:
                network(tile.dsm, tile.valid, asked)
            return {name: make_input_scale(*observer.calculate_qparams()) for name, observer in observers.items()}
    finally:
        for hook in hooks:
            hook.remove()


def make_observer_hook(observer: Callable[[Tensor], object]) -> Callable[[nn.Module, Any], None]:
    def show(layer: nn.Module, given: Any) -> None:
        observer(given[0])

    return show


def make_input_scale(scale: Tensor, zero_point: Tensor) -> InputScale:
    return InputScale(float(scale), int(zero_point))


def read_learned_ranges(callbacks: Mapping[str, Any]) -> dict[str, InputScale]:
    """The scales that `quantization_aware` learned in a run, from the callbacks' states in its checkpoint; nothing without it.

    Raises:
        CheckpointError: They are no scales.
    """
    for state in callbacks.values():
        found = state.get(LEARNED) if isinstance(state, Mapping) else None
        if isinstance(found, Mapping) and found:
            return {str(name): read_input_scale(row, name) for name, row in found.items()}
    return {}


def read_input_scale(row: Any, name: object) -> InputScale:
    """Of low, high, scale and zero point, (4,)."""
    if isinstance(row, Tensor) and row.shape == (4,) and row.isfinite().all():
        scale, zero_point = row[2].item(), row[3].item()
        if scale > 0 and 0 <= zero_point <= INPUT_MOST and zero_point == int(zero_point):
            return InputScale(scale, int(zero_point))
    raise CheckpointError(f"the ranges that quantization_aware is said to have learned for {name!r} are none: {row}")


def import_torchao() -> Any:
    """Torchao's observers.

    Raises:
        CheckpointError: It is not installed, or not with this torch.
    """
    try:
        with silence_logs():
            return import_module("torchao.quantization.pt2e")
    except ImportError as error:
        raise CheckpointError(f'quantizing needs torchao: pip install "forestgaps-quantization[torchao]" ({error})') from error


@contextmanager
def silence_logs() -> Iterator[None]:
    """Without what torchao tells its own developers, such as which libraries for GPUs it lacks."""
    loggers = [logging.getLogger(name) for name in ("torch", "torchao")]
    levels = [logger.level for logger in loggers]
    before = logging.root.manager.disable
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        logging.disable(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
