"""Quantization-aware training: the forward pass rounds the numbers that `forestgaps quantize` will round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, gt, le
from torch import Tensor, nn

from forestgaps_core import ConfigError, hookimpl
from forestgaps_quantization.choosing import CallRecorder
from forestgaps_quantization.ranges import LEARNED, import_torchao, silence_logs
from forestgaps_quantization.scales import INPUT_MOST, LEAST, WEIGHT_MOST, compute_weight_scales

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class QuantizationAwareConfig:
    """Quantization-aware training: from an epoch on, convolutions round their weights and inputs as `forestgaps quantize` does.

    Weights are rounded with the current scale of their channel, inputs with a range that follows the observed range,
    r <- r + a (observed - r). Validation does not change the ranges, so it scores the quantized network. Gradients ignore the
    rounding, except where an input is outside its range. Weights remain in float32, also in checkpoints. Checkpoints contain the
    ranges, and `forestgaps quantize` uses them instead of a calibration.

    Source: Jacob et al. 2018, section 3, arXiv:1712.05877; computed by torchao
    """

    from_epoch: int = field(default=0, validator=ge(0), metadata={"help": "Number of epochs before rounding starts."})
    following: float = field(
        default=0.01,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Weight a of the observed range in the update of a range at each step."},
    )
    keep: tuple[str, ...] = field(default=(), metadata={"help": "Names of layers that remain in float32, including their parts."})

    def build(self) -> QuantizationAware:
        return QuantizationAware(from_epoch=self.from_epoch, following=self.following, keep=self.keep)


@define(eq=False)
class QuantizationAware:
    changes: ClassVar = frozenset({"model", "weights"})

    from_epoch: int = 0
    following: float = 0.01
    keep: tuple[str, ...] = ()
    ranges: dict[str, Tensor] = field(factory=dict, init=False)  # by convolution: low, high, scale, zero point
    roundings: dict[str, nn.Module] = field(factory=dict, init=False)

    undo: list[Callable[[], object]] = field(factory=list, init=False)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        if trainer.environment.compile:
            raise ConfigError(
                "quantization_aware changes layers of the network, which is not possible in a compiled network. Set "
                "environment.compile to false",
                "callbacks",
            )
        if self.ranges:
            self.begin(trainer, list(self.ranges))

    @hookimpl
    def epoch_start(self, trainer: Trainer) -> None:
        if self.roundings or trainer.epoch < self.from_epoch:
            return
        self.begin(trainer, self.choose_layers(trainer))

    def choose_layers(self, trainer: Trainer) -> list[str]:
        """Return the convolutions to round, from one forward pass of the network on an artificial surface."""
        model, device = trainer.model, trainer.device
        recorder, training = CallRecorder(model), model.training
        levels = trainer.about.get("config", {}).get("thresholds", {}).get("values", (2.0, 5.0))
        rows = torch.linspace(400, 430, 128, device=device)[:, None].expand(1, 1, 128, 128).contiguous()
        try:
            with torch.no_grad(), trainer.environment.autocast(device):
                model.eval()(rows, torch.ones_like(rows, dtype=torch.bool), torch.tensor([list(levels)], device=device))
        finally:
            model.train(training)
            names = recorder.choose_layers(frozenset(self.keep))
        if not names:
            raise ConfigError(
                "quantization_aware: no convolution of this network can be quantized with benefit. Remove layers from keep, or "
                "remove the callback",
                "callbacks",
            )
        return names

    def begin(self, trainer: Trainer, names: list[str]) -> None:
        """Start to round the weights and inputs of the named convolutions."""
        kinds = import_torchao()
        for name in names:
            layer = trainer.model.get_submodule(name)
            assert isinstance(layer, nn.Conv2d)
            with silence_logs():
                rounding = kinds.FusedMovingAvgObsFakeQuantize(
                    observer=kinds.MovingAverageMinMaxObserver,
                    quant_min=0,
                    quant_max=255,
                    dtype=torch.uint8,
                    qscheme=torch.per_tensor_affine,
                    averaging_constant=self.following,
                ).to(trainer.device)
            if name in self.ranges:
                write_range(rounding, self.ranges[name])
            self.roundings[name] = rounding
            self.undo.append(layer.register_forward_pre_hook(add_input_rounding(rounding)).remove)
            self.undo.append(add_weight_rounding(layer))

    @hookimpl
    def step_end(self, trainer: Trainer) -> None:
        if self.roundings and trainer.processes.count > 1:  # each process observes only its part of the batch
            totals = torch.stack([read_range(rounding) for rounding in self.roundings.values()])
            trainer.processes.sum([totals])
            for rounding, row in zip(self.roundings.values(), average_ranges(totals / trainer.processes.count), strict=True):
                write_range(rounding, row)

    @hookimpl(trylast=True)
    def fit_end(self) -> None:
        for undo in self.undo:
            undo()
        self.ranges = self.state_dict()[LEARNED]
        self.undo.clear()
        self.roundings.clear()

    def state_dict(self) -> dict[str, Any]:
        current = {name: read_range(rounding).cpu() for name, rounding in self.roundings.items()}
        return {LEARNED: current or dict(self.ranges)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ranges = {str(name): row.detach().clone() for name, row in state[LEARNED].items()}


def read_range(rounding: Any) -> Tensor:
    """Return low, high, scale and zero point, (4,) float32."""
    observer = rounding.activation_post_process
    parts = (observer.min_val, observer.max_val, rounding.scale, rounding.zero_point)
    return torch.stack([part.detach().float().reshape(()) for part in parts])


def average_ranges(rows: Tensor) -> Tensor:
    """Return the rows with scale and zero point computed again from low and high, (n, 4)."""
    low, high = rows[:, 0].clamp(max=0), rows[:, 1].clamp(min=0)
    scale = ((high - low) / INPUT_MOST).clamp(min=LEAST)
    return torch.stack([rows[:, 0], rows[:, 1], scale, (-low / scale).round().clamp(0, INPUT_MOST)], dim=1)


def write_range(rounding: Any, row: Tensor) -> None:
    observer, (low, high, scale, zero_point) = rounding.activation_post_process, row.to(rounding.scale.device)
    observer.min_val.copy_(low)
    observer.max_val.copy_(high)
    rounding.scale.copy_(scale)
    rounding.zero_point.copy_(zero_point.round())


def add_input_rounding(rounding: Any) -> Callable[[nn.Module, Any], tuple[Tensor]]:
    def to_codes_and_back(layer: nn.Module, given: Any) -> tuple[Tensor]:
        x = given[0]
        if layer.training:
            rounded: Tensor = rounding(x.float())  # follows the range
        else:
            rounded = torch.fake_quantize_per_tensor_affine(x.float(), rounding.scale, rounding.zero_point, 0, 255)
        return (rounded.to(x.dtype),)

    return to_codes_and_back


def add_weight_rounding(layer: nn.Conv2d) -> Callable[[], None]:
    """Make a convolution round its weights at each call; return a function that undoes this."""
    convolve = layer._conv_forward

    def rounded(x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        scales = compute_weight_scales(weight)
        zeros = torch.zeros(len(scales), dtype=torch.int32, device=scales.device)
        codes = torch.fake_quantize_per_channel_affine(weight.float(), scales, zeros, 0, -WEIGHT_MOST, WEIGHT_MOST)
        return convolve(x, codes.to(weight.dtype), bias)

    layer._conv_forward = rounded  # type: ignore[method-assign, assignment]

    def undo() -> None:
        del layer._conv_forward

    return undo
