from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from forestgaps_core.testing import build_component, check_model, example_batch
from forestgaps_models.unet import AttentionUNet, CbamUNet, HeightUNet, PlainUNet, UNet
from forestgaps_models.views import View

NEAR = View(relief_m=9, tophats_m=(3, 7))
SMALL = {"base": 4, "depth": 2, "view": NEAR}
CONFIGS = [
    UNet(),
    UNet(**SMALL, conditioned=2, blocks=2, drop_path=0.2, dropout=0.1),
    HeightUNet(),
    HeightUNet(**SMALL, attention="cbam", drop_path=0.3, drop_path_rule="constant"),
    AttentionUNet(**SMALL),
    CbamUNet(**SMALL),
    PlainUNet(**SMALL, blocks=2, dropout=0.1),
]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_contract(config: Any) -> None:
    check_model(config)


def test_contract_with_group_norm() -> None:
    torch.manual_seed(0)
    model = build_component("model", UNet(**SMALL), normalization=lambda channels: nn.GroupNorm(2, channels)).eval()
    batch = example_batch(samples=2)
    logits = model(batch.dsm, batch.valid, batch.thresholds)
    torch.testing.assert_close(model(batch.dsm[:1], batch.valid[:1], batch.thresholds[:1]), logits[:1], atol=1e-4, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 40), columns=st.integers(1, 40), channels=st.integers(1, 4))
def test_tiles_of_any_size_and_any_number_of_thresholds(rows: int, columns: int, channels: int) -> None:
    model = build_component("model", HeightUNet(base=4, depth=3, view=NEAR)).eval()
    dsm = torch.randn(1, 1, rows, columns)
    logits = model(dsm, torch.ones_like(dsm, dtype=torch.bool), torch.rand(1, channels) * 20 + 0.1)
    assert logits.shape == (1, channels, rows, columns)


@pytest.mark.parametrize("kind", [UNet, HeightUNet])
def test_each_sample_is_asked_for_its_own_thresholds(kind: Any) -> None:
    torch.manual_seed(0)
    model = build_component("model", kind(**SMALL)).eval()
    for parameter in model.parameters():  # the modulation begins as the identity, blind to thresholds
        nn.init.normal_(parameter, std=0.2)
    batch = example_batch(samples=2)
    both = torch.tensor([[2.0, 5.0], [7.0, 20.0]])
    logits = model(batch.dsm, batch.valid, both)
    swapped = model(batch.dsm, batch.valid, both.flip(0))
    assert not torch.allclose(logits, swapped)
    torch.testing.assert_close(model(batch.dsm[1:], batch.valid[1:], both[1:]), logits[1:], atol=1e-4, rtol=1e-4)


def test_heights_have_the_shape_of_the_tile_and_follow_the_logits() -> None:
    torch.manual_seed(0)
    model = build_component("model", HeightUNet(**SMALL)).eval()
    batch = example_batch(samples=2)
    heights = model.predict_heights(batch.dsm, batch.valid)
    assert heights.shape == batch.dsm.shape
    # The mean is the area over the cumulative curve (and under it below 0): sum it slowly at 5 cm.
    t = torch.arange(-15, 400, 0.05)
    gap = torch.sigmoid(model(batch.dsm[:1, :, :4, :4], batch.valid[:1, :, :4, :4], t[None]))
    slow = torch.where(t[:, None, None] < 0, -gap, 1 - gap).sum(1) * 0.05
    torch.testing.assert_close(
        model.predict_heights(batch.dsm[:1, :, :4, :4], batch.valid[:1, :, :4, :4])[0, 0], slow[0], atol=0.1, rtol=0
    )


@pytest.mark.parametrize("config", [UNet(**SMALL), HeightUNet(**SMALL)], ids=["thresholds", "heights"])
def test_a_few_steps_reduce_the_loss(config: Any) -> None:
    torch.manual_seed(0)
    model = build_component("model", config)
    batch = example_batch(samples=4, thresholds=(2.0, 5.0, 10.0, 20.0))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(model(batch.dsm, batch.valid, batch.thresholds), batch.target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


def test_planes_last_changes_nothing() -> None:
    torch.manual_seed(0)
    model = build_component("model", UNet(**SMALL)).eval()
    batch = example_batch(samples=2)
    logits = model(batch.dsm, batch.valid, batch.thresholds)
    model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(batch.dsm, batch.valid, batch.thresholds), logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [UNet(**SMALL, drop_path=0.1), HeightUNet(**SMALL)], ids=["thresholds", "heights"])
def test_the_network_compiles_as_one_graph(config: Any) -> None:
    torch.manual_seed(0)
    model = build_component("model", config).eval()
    batch = example_batch(samples=2)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    logits = compiled(batch.dsm, batch.valid, batch.thresholds)
    torch.testing.assert_close(logits, model(batch.dsm, batch.valid, batch.thresholds), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", [UNet(**SMALL), HeightUNet(**SMALL)], ids=["thresholds", "heights"])
def test_the_network_is_exported_for_any_number_of_tiles_sizes_and_thresholds(config: Any) -> None:
    torch.manual_seed(0)
    model = build_component("model", config).eval()
    small, large = example_batch(samples=2), example_batch(samples=3, size=48, thresholds=(2.0, 5.0))
    samples, channels = torch.export.Dim("samples"), torch.export.Dim("channels")
    rows, columns = (4 * torch.export.Dim(name, min=2, max=64) for name in ("rows", "columns"))
    tile = {0: samples, 2: rows, 3: columns}
    exported = torch.export.export(
        model, (small.dsm, small.valid, small.thresholds), dynamic_shapes=(tile, tile, {0: samples, 1: channels})
    )
    found = exported.module()(large.dsm, large.valid, large.thresholds)
    torch.testing.assert_close(found, model(large.dsm, large.valid, large.thresholds), atol=1e-5, rtol=1e-5)


def test_the_drop_path_rate_follows_a_schedule() -> None:
    model = build_component("model", UNet(**SMALL))
    model.set_drop_path(0.5)
    keep = [module.keep.item() for module in model.modules() if hasattr(module, "keep")]
    assert keep == pytest.approx([1.0, 0.875, 0.75, 0.625, 0.5])


@pytest.mark.parametrize("wrong", [{"base": 2}, {"depth": 0}, {"drop_path": 1.0}, {"attention": "much"}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        evolve(UNet(), **wrong)


def test_edges_must_rise() -> None:
    with pytest.raises(ValueError, match="must be strictly ascending"):
        HeightUNet(edges_m=(0.0, 5.0, 3.0))


def test_a_plain_unet_is_that_of_its_paper_and_has_no_path_to_drop() -> None:
    body = build_component("model", PlainUNet(base=4, depth=2)).body
    kinds = [type(layer).__name__ for layer in body.down[1].modules() if not list(layer.children())]
    assert [kind for kind in kinds if kind != "Identity"] == ["MaxPool2d", *["Conv2d", "BatchNorm2d", "ReLU"] * 2]
    with pytest.raises(ValueError, match="drop_path needs residual blocks"):
        PlainUNet(drop_path=0.1)
