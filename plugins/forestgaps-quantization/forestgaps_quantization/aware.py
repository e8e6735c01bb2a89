"""Training that knows of the 8 bits to come: what `forestgaps quantize` will round is rounded in the forward pass already."""

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
from forestgaps_quantization.scales import INPUT_MOST, LEAST, WEIGHT_MOST, weight_scales

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@frozen(kw_only=True)
class QuantizationAwareConfig:
    """Trains for 8 bits: from an epoch on, convolutions see their weights and inputs rounded as `forestgaps quantize` will.

    Weights by the scale of their channel at the time; inputs by a range that follows what is seen, r <- r + a (seen - r), and stays
    as it is in validation, which so scores what the quantized network will answer. Gradients pass as if nothing were rounded,
    except where an input lies beyond its range. The weights themselves stay float32, in checkpoints too, beside the ranges, which
    `forestgaps quantize` then takes instead of observing some.

    Source: Jacob et al. 2018, section 3, arXiv:1712.05877; computed by torchao
    """

    from_epoch: int = field(default=0, validator=ge(0), metadata={"help": "Completed epochs before anything is rounded."})
    following: float = field(
        default=0.01,
        validator=and_(gt(0), le(1)),
        metadata={"help": "How far a range moves in a step to what is seen."},
    )
    keep: tuple[str, ...] = field(
        default=(), metadata={"help": "Layers that stay in float, with all that is in them, by their names in the network."}
    )

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
    watching: CallRecorder | None = field(default=None, init=False)
    undo: list[Callable[[], object]] = field(factory=list, init=False)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        if trainer.environment.compile:
            raise ConfigError(
                "quantization_aware works inside the network's layers, which a compiled network has no more; set "
                "environment.compile to false",
                "callbacks",
            )
        if self.ranges:
            self.begin(trainer, list(self.ranges))

    @hookimpl
    def epoch_start(self, trainer: Trainer) -> None:
        if self.roundings or trainer.epoch < self.from_epoch:
            return
        self.begin(trainer, self.seen_by(trainer))

    def seen_by(self, trainer: Trainer) -> list[str]:
        """Which convolutions to round, by one answer of the network about a made-up surface."""
        model, device = trainer.model, trainer.device
        watching, training = CallRecorder(model), model.training
        levels = trainer.about.get("config", {}).get("thresholds", {}).get("values", (2.0, 5.0))
        rows = torch.linspace(400, 430, 128, device=device)[:, None].expand(1, 1, 128, 128).contiguous()
        try:
            with torch.no_grad(), trainer.environment.autocast(device):
                model.eval()(rows, torch.ones_like(rows, dtype=torch.bool), torch.tensor([list(levels)], device=device))
        finally:
            model.train(training)
            names = watching.choose_layers(frozenset(self.keep))
        if not names:
            raise ConfigError(
                "quantization_aware: no convolution of this network is worth quantizing, or all are kept", "callbacks"
            )
        return names

    def begin(self, trainer: Trainer, names: list[str]) -> None:
        """Round from now on."""
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
            self.undo.append(layer.register_forward_pre_hook(rounding_inputs(rounding)).remove)
            self.undo.append(rounding_weights(layer))

    @hookimpl
    def step_end(self, trainer: Trainer) -> None:
        if self.roundings and trainer.processes.count > 1:  # each has seen its own share of the batch
            together = torch.stack([read_range(rounding) for rounding in self.roundings.values()])
            trainer.processes.sum([together])
            for rounding, row in zip(self.roundings.values(), average_ranges(together / trainer.processes.count), strict=True):
                write_range(rounding, row)

    @hookimpl(trylast=True)
    def fit_end(self) -> None:
        for back in self.undo:
            back()
        self.ranges = self.state_dict()[LEARNED]
        self.undo.clear()
        self.roundings.clear()

    def state_dict(self) -> dict[str, Any]:
        now = {name: read_range(rounding).cpu() for name, rounding in self.roundings.items()}
        return {LEARNED: now or dict(self.ranges)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.ranges = {str(name): row.detach().clone() for name, row in state[LEARNED].items()}


def read_range(rounding: Any) -> Tensor:
    """Low, high, scale and zero point, (4,) float32."""
    observer = rounding.activation_post_process
    parts = (observer.min_val, observer.max_val, rounding.scale, rounding.zero_point)
    return torch.stack([part.detach().float().reshape(()) for part in parts])


def average_ranges(rows: Tensor) -> Tensor:
    """The same with scale and zero point made anew of low and high, (n, 4)."""
    low, high = rows[:, 0].clamp(max=0), rows[:, 1].clamp(min=0)
    scale = ((high - low) / INPUT_MOST).clamp(min=LEAST)
    return torch.stack([rows[:, 0], rows[:, 1], scale, (-low / scale).round().clamp(0, INPUT_MOST)], dim=1)


def write_range(rounding: Any, row: Tensor) -> None:
    observer, (low, high, scale, zero_point) = rounding.activation_post_process, row.to(rounding.scale.device)
    observer.min_val.copy_(low)
    observer.max_val.copy_(high)
    rounding.scale.copy_(scale)
    rounding.zero_point.copy_(zero_point.round())


def rounding_inputs(rounding: Any) -> Callable[[nn.Module, Any], tuple[Tensor]]:
    def to_codes_and_back(layer: nn.Module, given: Any) -> tuple[Tensor]:
        x = given[0]
        if layer.training:
            rounded: Tensor = rounding(x.float())  # follows the range
        else:
            rounded = torch.fake_quantize_per_tensor_affine(x.float(), rounding.scale, rounding.zero_point, 0, 255)
        return (rounded.to(x.dtype),)

    return to_codes_and_back


def rounding_weights(layer: nn.Conv2d) -> Callable[[], None]:
    """Have a convolution round its weights whenever it is called; returns what ends that."""
    whole = layer._conv_forward

    def rounded(x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
        scales = weight_scales(weight)
        zeros = torch.zeros(len(scales), dtype=torch.int32, device=scales.device)
        codes = torch.fake_quantize_per_channel_affine(weight.float(), scales, zeros, 0, -WEIGHT_MOST, WEIGHT_MOST)
        return whole(x, codes.to(weight.dtype), bias)

    layer._conv_forward = rounded  # type: ignore[method-assign, assignment]

    def end() -> None:
        del layer._conv_forward

    return end
