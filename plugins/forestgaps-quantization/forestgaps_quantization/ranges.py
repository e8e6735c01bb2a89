"""The range of the input of each convolution, observed by torchao or learned in training."""

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

LEARNED = "activation_ranges"  # key in the state of the callback: low, high, scale and zero point by convolution


def observe_ranges(
    network: nn.Module, surfaces: Sequence[Surface], thresholds: Sequence[float], keep: frozenset[str]
) -> dict[str, InputScale]:
    """Return the scale of the input of each convolution to quantize, in the order of their calls.

    The range minimizes the mean squared error (`HistogramObserver` of torchao). It may exclude rare extreme values, because
    smaller steps are better for all other values.

    Args:
        network: In evaluation mode, on the CPU, with folded batch norms.
        keep: See `CallRecorder.choose_layers`.
    """
    recorder = CallRecorder(network)
    levels = torch.tensor([list(thresholds)], dtype=torch.float32)
    with torch.inference_mode():
        network(surfaces[0].dsm, surfaces[0].valid, levels)
    names = recorder.choose_layers(keep)
    kinds = import_torchao()
    observers = {
        name: kinds.HistogramObserver(dtype=torch.uint8, qscheme=torch.per_tensor_affine, quant_min=0, quant_max=255)
        for name in names
    }
    hooks = [network.get_submodule(name).register_forward_pre_hook(make_observer_hook(observers[name])) for name in names]
    try:
        with torch.inference_mode(), silence_logs():
            for tile in surfaces:
                network(tile.dsm, tile.valid, levels)
            return {name: make_input_scale(*observer.calculate_qparams()) for name, observer in observers.items()}
    finally:
        for hook in hooks:
            hook.remove()


def make_observer_hook(observer: Callable[[Tensor], object]) -> Callable[[nn.Module, Any], None]:
    def observe(layer: nn.Module, given: Any) -> None:
        observer(given[0])

    return observe


def make_input_scale(scale: Tensor, zero_point: Tensor) -> InputScale:
    return InputScale(float(scale), int(zero_point))


def read_learned_ranges(callbacks: Mapping[str, Any]) -> dict[str, InputScale]:
    """Return the scales that `quantization_aware` learned, from the states of callbacks in a checkpoint; empty without it.

    Raises:
        CheckpointError: The state does not contain valid scales.
    """
    for state in callbacks.values():
        ranges = state.get(LEARNED) if isinstance(state, Mapping) else None
        if isinstance(ranges, Mapping) and ranges:
            return {str(name): read_input_scale(row, name) for name, row in ranges.items()}
    return {}


def read_input_scale(row: Any, name: object) -> InputScale:
    """Return the scale from a row of low, high, scale and zero point, (4,)."""
    if isinstance(row, Tensor) and row.shape == (4,) and row.isfinite().all():
        scale, zero_point = row[2].item(), row[3].item()
        if scale > 0 and 0 <= zero_point <= INPUT_MOST and zero_point == int(zero_point):
            return InputScale(scale, int(zero_point))
    raise CheckpointError(f"the ranges that quantization_aware learned for {name!r} are not valid: {row}")


def import_torchao() -> Any:
    """Return the module of the observers of torchao.

    Raises:
        CheckpointError: torchao is not installed, or does not support this version of torch.
    """
    try:
        with silence_logs():
            return import_module("torchao.quantization.pt2e")
    except ImportError as error:
        raise CheckpointError(
            f'quantization needs torchao ({error}). Run: pip install "forestgaps-quantization[torchao]"'
        ) from error


@contextmanager
def silence_logs() -> Iterator[None]:
    """Silence the messages of torchao for its developers, such as missing libraries for GPUs."""
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
