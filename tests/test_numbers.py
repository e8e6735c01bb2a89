"""Numbers that are none: noticed in the step where they appear, without reading the device in it, and named."""

from __future__ import annotations

import json
from math import inf, nan

import pytest
import torch
from attrs import evolve
from torch import nn

from forestgaps_core import Environment, Tile, Trainer, hookimpl
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import BatchMaker
from forestgaps_core.data.loader import TileLoader
from forestgaps_core.errors import NumbersError
from forestgaps_core.files.checkpoint import load_checkpoint, read_state_file

CPU = Environment(device="cpu")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)

    def forward(self, dsm, valid, thresholds):
        return self.last(self.norm(self.first(dsm / 100)).relu()) + thresholds[:, :, None, None] / 10


def bce(logits, batch):
    cost = nn.functional.binary_cross_entropy_with_logits(logits, batch.target, reduction="none") * batch.valid
    return cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)


class Source:
    """Twelve tiles, one of them spoilt."""

    def __init__(self, spoilt=None, value=nan):
        self.spoilt, self.value = spoilt, value

    def __len__(self):
        return 12

    def read(self, index, draw):
        rows = torch.arange(16.0)[:, None].expand(16, 16)
        height = (rows + index) % 11
        dsm = 100 + height.clone()
        if index == self.spoilt:
            dsm[3, 4] = self.value
        return Tile(dsm=dsm, height=height, valid=torch.ones(16, 16, dtype=torch.bool))

    def place(self, index, draw):
        return f"site north, rows {index * 16} to {index * 16 + 16}"


def run(tmp_path, source, *, loss=bce, optimizer=None, callbacks=(), **settings):
    torch.manual_seed(0)
    net = Net()
    maker = BatchMaker(thresholds=Thresholds(values=(2.0, 5.0)))
    trainer = Trainer(
        model=net,
        loss=loss,
        optimizer=optimizer(net.parameters()) if optimizer else torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True),
        make_train_batch=maker,
        make_evaluation_batch=maker,
        environment=settings.pop("environment", CPU),
        callbacks=callbacks,
        faults=tmp_path / "faults",
        **settings,
    )
    return trainer, TileLoader(source, batch_size=2, seed=5, shuffle=True)


class Steps:
    """What the weights were after each step."""

    def __init__(self):
        self.weights = []

    @hookimpl
    def step_end(self, trainer):
        self.weights.append(torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()]))


@pytest.mark.parametrize("value", [nan, inf, -inf])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_input_is_named_by_step_batch_and_tile_and_kept(tmp_path, value, workers):
    steps = Steps()
    trainer, loader = run(tmp_path, Source(7, value), callbacks=[steps])
    loader = evolve(loader, workers=workers)
    with pytest.raises(NumbersError) as caught:
        trainer.fit(loader, epochs=1)
    loader.seek(0)
    guilty = next(number for number, tiles in enumerate(loader) if 7 in tiles.index.tolist())
    loader.close()
    said = str(caught.value)
    assert f"step {guilty + 1} (epoch 1, batch {guilty + 1}): an input is not finite at a valid pixel" in said
    assert "tiles: site north, rows 112 to 128;" in said
    kept = tmp_path / "faults" / f"step-{guilty + 1:06d}.safetensors"
    assert str(kept) in said
    assert not read_state_file(kept)[0]["dsm"].isfinite().all()
    assert json.loads(kept.with_suffix(".json").read_text())["tiles"] == ["site north, rows 112 to 128"]
    before = steps.weights[guilty - 1] if guilty else None
    after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    assert before is None or torch.equal(before, after)


def test_weights_without_a_fused_optimizer_stay_numbers_too(tmp_path):
    trainer, loader = run(tmp_path, Source(7), optimizer=lambda weights: torch.optim.AdamW(weights, lr=1e-2, fused=False))
    with pytest.raises(NumbersError, match="an input is not finite"):
        trainer.fit(loader, epochs=1)
    assert all(p.isfinite().all() for p in trainer.model.parameters())


@pytest.mark.parametrize("optimizer", [True, False])
def test_a_bad_step_is_left_out_where_it_is_to_be_skipped(tmp_path, caplog, optimizer):
    trainer, loader = run(
        tmp_path,
        Source(7),
        optimizer=lambda weights: torch.optim.SGD(weights, lr=1e-2, fused=optimizer),
        nonfinite="skip",
        check_every=3,
    )
    trainer.fit(loader, loader, epochs=2)
    assert trainer.step == 12
    assert all(tensor.isfinite().all() for tensor in trainer.model.state_dict().values())
    assert 0 < trainer.scores["train/loss"] < inf
    assert caplog.text.count("left out") == 2
    assert "site north, rows 112 to 128" in caplog.text


def test_a_loss_that_breaks_at_one_step_is_found_there(tmp_path):
    calls = []

    def breaking(logits, batch):
        calls.append(batch.index.tolist())
        return bce(logits, batch) * (nan if 4 in batch.index.tolist() else 1)

    trainer, loader = run(tmp_path, Source(), loss=breaking, check_every=2)
    with pytest.raises(NumbersError) as caught:
        trainer.fit(loader, epochs=1)
    guilty = next(number for number, samples in enumerate(calls) if 4 in samples)
    assert f"step {guilty + 1} (epoch 1, batch {guilty + 1}): the loss is nan" in str(caught.value)


class Spiky(torch.autograd.Function):
    """The identity, with a gradient that is not finite for samples above a height."""

    @staticmethod
    def forward(ctx, x, spoilt):
        ctx.save_for_backward(spoilt)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.where(ctx.saved_tensors[0], inf, gradient), None


@pytest.mark.parametrize("clipped", [1.0, inf])
def test_a_gradient_that_breaks_under_a_fine_loss_is_found_in_its_step(tmp_path, clipped):
    seen = []

    def loss(logits, batch):
        seen.append(batch.index.tolist())
        return bce(Spiky.apply(logits, (batch.index == 4)[:, None, None, None].expand_as(logits)), batch)

    trainer, loader = run(tmp_path, Source(), loss=loss, max_gradient_norm=clipped)
    with pytest.raises(NumbersError) as caught:
        trainer.fit(loader, epochs=1)
    guilty = next(number for number, samples in enumerate(seen) if 4 in samples)
    assert f"step {guilty + 1} (" in str(caught.value)
    assert "gradients that are not finite: first.weight, first.bias, norm.weight" in str(caught.value)


def test_weights_that_are_no_numbers_are_named(tmp_path):
    class Spoiling:
        @hookimpl
        def step_end(self, trainer):
            if trainer.step == 2:
                with torch.no_grad():
                    trainer.model.last.weight[0, 1] = nan

    trainer, loader = run(tmp_path, Source(), callbacks=[Spoiling()])
    with pytest.raises(NumbersError, match=r"step 3 \(epoch 1, batch 3\): weights that are not finite: last.weight"):
        trainer.fit(loader, epochs=1)


def test_no_checkpoint_is_written_of_a_spoilt_state(tmp_path):
    class Saving:
        @hookimpl
        def step_end(self, trainer):
            trainer.checkpoint(tmp_path / "last.safetensors")

    trainer, loader = run(tmp_path, Source(7), callbacks=[Saving()])
    with pytest.raises(NumbersError) as caught:
        trainer.fit(loader, epochs=1)
    step = int(str(caught.value).split()[1])
    if step > 1:
        state = load_checkpoint(tmp_path / "last.safetensors")
        assert state["position"]["step"] == step - 1
        assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_accumulated_batches_are_checked_together(tmp_path):
    trainer, loader = run(tmp_path, Source(7), accumulate=3)
    with pytest.raises(NumbersError) as caught:
        trainer.fit(loader, epochs=1)
    assert "rows 112 to 128;" in str(caught.value)


def test_overflow_of_float16_is_scaled_away_and_no_fault(tmp_path):
    trainer, loader = run(tmp_path, Source(), environment=Environment(device="cpu", precision="16"))
    trainer._optimizer_step.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    trainer.fit(loader, epochs=3)
    assert trainer._optimizer_step.scaler.get_scale() < 2.0**30
    assert all(p.isfinite().all() for p in trainer.model.parameters())


def test_a_network_that_fails_in_validation_is_reported_and_in_test_refused(tmp_path, caplog):
    trainer, loader = run(tmp_path, Source())
    bad = TileLoader(Source(3), batch_size=2)
    trainer.fit(loader, bad, epochs=1)
    assert "what the network returns is not finite in batch 2 of the validation split, with site north, rows 32" in caplog.text
    with pytest.raises(NumbersError, match=r"batch 2 of the test split, with site north, rows 32"):
        trainer.test(bad)
