from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor, nn

from forestgaps_core import ConfigError, hookimpl
from forestgaps_core.files.checkpoint import load_checkpoint, save_checkpoint
from forestgaps_core.inference.batch_norm_folding import fold_batch_norms
from forestgaps_core.testing import check_callback, example_batch
from forestgaps_core.testing.example_run import example_trainer, train_example
from forestgaps_quantization.aware import QuantizationAware, QuantizationAwareConfig, average_ranges
from forestgaps_quantization.convolution import replace_convolutions
from forestgaps_quantization.ranges import LEARNED, read_learned_ranges
from forestgaps_quantization.scales import InputScale, compute_weight_codes, compute_weight_scales, compute_weight_values

pytest.importorskip("torchao")
ONE = "layers.3"  # the convolution worth quantizing


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()),
            nn.Conv2d(32, 1, 1),
        )

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        above = (dsm - dsm.mean((1, 2, 3), keepdim=True)) / 10
        logits: Tensor = self.layers(above) + thresholds[:, :, None, None] / 10
        return logits


def trained(aware: QuantizationAware, epochs: int = 2, **settings: Any) -> Any:
    callbacks = {"aware": aware} | settings.pop("others", {})
    return train_example(callbacks, epochs=epochs, network=Wide, **settings)


def test_contract(tmp_path: Path) -> None:
    check_callback(QuantizationAwareConfig(from_epoch=2, following=0.1, keep=("head",)), tmp_path)


class Looking:
    """What validation answers, and what a range is at each event."""

    def __init__(self, aware: QuantizationAware) -> None:
        self.aware, self.ranges, self.logits = aware, [], []

    def note(self) -> None:
        self.ranges.append(self.aware.state_dict()[LEARNED].get(ONE))

    @hookimpl
    def step_end(self) -> None:
        self.note()

    @hookimpl
    def evaluation_batch(self, logits: Tensor) -> None:
        self.note()
        self.logits.append(logits.clone())


def test_it_begins_at_its_epoch_and_ranges_stay_in_validation() -> None:
    aware = QuantizationAware(from_epoch=1, following=0.1)
    look = Looking(aware)
    trained(aware, others={"look": look})
    before, after = look.ranges[:7], look.ranges[7:]  # five steps and two batches each
    assert before == [None] * 7
    assert all(row is not None for row in after)
    assert len({tuple(row.tolist()) for row in after[:5]}) == 5, "each step moves the range"
    assert all(torch.equal(row, after[4]) for row in after[4:])


def test_a_range_follows_what_is_seen() -> None:
    aware = QuantizationAware(following=0.25)
    seen: list[tuple[float, float]] = []
    trainer = example_trainer({"aware": aware, "look": (look := Looking(aware))}, network=Wide)
    trainer.model.layers[2].register_forward_hook(
        lambda layer, given, out: seen.append((out.min().item(), out.max().item())) if layer.training else None
    )
    trainer.fit([example_batch(samples=2, size=16, seed=seed) for seed in range(4)], epochs=1)
    low, high = seen[0]
    for row, (least, most) in zip(look.ranges[1:], seen[1:], strict=True):
        low, high = low + 0.25 * (least - low), high + 0.25 * (most - high)
        assert row[:2].tolist() == pytest.approx([low, high], abs=1e-4)
        assert row[2].item() == pytest.approx((high - min(low, 0)) / 255, rel=1e-3)


def test_validation_scores_what_the_quantized_network_answers() -> None:
    aware = QuantizationAware(following=0.5)
    look = Looking(aware)
    trainer = trained(aware, others={"look": look})
    batch = example_batch(samples=2, size=16, seed=1)
    model = trainer.model.eval()
    with torch.inference_mode():
        plain = model(batch.dsm, batch.valid, batch.thresholds)
        layer = model.layers[3]
        scales = compute_weight_scales(layer.weight)  # as the file holds them: rounded before the norm is folded
        layer.weight.copy_(compute_weight_values(compute_weight_codes(layer.weight, scales), scales))
        fold_batch_norms(model)
        replace_convolutions(model, read_learned_ranges({"aware": aware.state_dict()}), integers=False)
        quantized = model(batch.dsm, batch.valid, batch.thresholds)
    assert (look.logits[-1] - plain).abs().max() > 1e-3, "nothing was rounded"
    # Values between two codes may go to either.
    assert (look.logits[-1] - quantized).abs().mean() < 0.02 * (look.logits[-1] - plain).abs().mean() + 1e-6


def test_a_resumed_run_continues_exactly(tmp_path: Path) -> None:
    class Stop:
        def __init__(self, step: int) -> None:
            self.step = step

        @hookimpl
        def step_end(self, trainer: Any) -> None:
            if trainer.step == self.step:
                trainer.stop("for now", final=False)

    aware, again, whole = (QuantizationAware(from_epoch=1, following=0.2) for _ in range(3))
    first = trained(aware, epochs=3, others={"stop": Stop(8)})
    save_checkpoint(tmp_path / "here.safetensors", first.state_dict())
    resumed = trained(again, epochs=3, resume=tmp_path / "here.safetensors", others={"stop": Stop(0)})
    straight = trained(whole, epochs=3, others={"stop": Stop(0)})
    assert (first.step, resumed.step) == (8, 15)
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
    assert torch.equal(again.ranges[ONE], whole.ranges[ONE])
    assert resumed.scores == straight.scores


def test_of_several_processes_each_takes_the_mean_of_the_ranges() -> None:
    rows = torch.tensor([[[-1.0, 1.0, 9.0, 9.0], [0.5, 2.55, 9.0, 9.0]], [[-1.1, 2.0, 9.0, 9.0], [0.7, 2.55, 9.0, 9.0]]])
    found = average_ranges(rows.mean(dim=0))
    for row, (low, high) in zip(found.tolist(), [(-1.05, 1.5), (0.6, 2.55)], strict=True):
        expected = InputScale.of_range(low, high)
        assert row == pytest.approx([low, high, expected.scale, expected.zero_point])


def test_the_network_is_left_as_it_was_with_whole_weights(tmp_path: Path) -> None:
    aware = QuantizationAware()
    model = trained(aware).model
    assert not any(layer._forward_pre_hooks or "_conv_forward" in vars(layer) for layer in model.modules())
    assert model.state_dict().keys() == Wide().state_dict().keys()
    weight = model.layers[3].weight
    assert len(weight[0].unique()) > 255, "weights are not rounded themselves"


def test_gradients_pass_the_rounding() -> None:
    trainer = example_trainer({"aware": (aware := QuantizationAware())}, network=Wide)
    before = trainer.model.layers[3].weight.clone()
    trainer.fit([example_batch(samples=2, size=16)], epochs=1)
    moved = (trainer.model.layers[3].weight - before).abs()
    assert aware.ranges.keys() == {ONE}
    assert (moved > 0).float().mean() > 0.99


def test_what_cannot_be_is_reported(tmp_path: Path) -> None:
    trainer = example_trainer({"aware": QuantizationAware()}, network=Wide)
    trainer.environment = evolve(trainer.environment, compile=True)
    with pytest.raises(ConfigError, match=r"environment\.compile to false"):
        trainer.fit([example_batch(samples=2, size=16)], epochs=1)
    with pytest.raises(ConfigError, match="no convolution of this network can be quantized with benefit"):
        train_example({"aware": QuantizationAware()}, epochs=1)  # of few planes


def test_a_checkpoint_with_ranges_is_data_only(tmp_path: Path) -> None:
    aware = QuantizationAware()
    trainer = trained(aware, epochs=1)
    save_checkpoint(tmp_path / "it.safetensors", trainer.state_dict())
    assert read_learned_ranges(load_checkpoint(tmp_path / "it.safetensors")["callbacks"]) == read_learned_ranges(
        {"aware": aware.state_dict()}
    )
