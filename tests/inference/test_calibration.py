from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.components import Batch
from forestgaps_core.errors import DataError
from forestgaps_core.inference.calibration import Calibration, LogitCounts


def surveyed(slope, offset, pixels=200_000, seed=0):
    """Logits, and gaps drawn with the chance sigmoid(slope * logit + offset)."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(pixels, generator=generator) * 3
    target = (torch.rand(pixels, generator=generator) < (slope * logits + offset).sigmoid()).float()
    return logits.reshape(1, 2, -1, 100), batch_of(target.reshape(1, 2, -1, 100))


def batch_of(target, valid=None):
    shape = (target.shape[0], 1, *target.shape[2:])
    valid = torch.ones(shape, dtype=torch.bool) if valid is None else valid
    return Batch(dsm=torch.zeros(shape), thresholds=torch.zeros(target.shape[:2]), target=target, valid=valid)


def counted(*parts):
    counts = LogitCounts()
    for logits, batch in parts:
        counts.update(logits, batch)
    return counts


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.4, -1.0), (2.5, 0.7)])
def test_the_slope_and_offset_that_made_the_data_are_found(slope, offset):
    found = counted(surveyed(slope, offset)).compute()
    assert found["slope"] == pytest.approx(slope, rel=0.03)
    assert found["offset"] == pytest.approx(offset, abs=0.03)
    assert found["log_loss_after"] <= found["log_loss_before"]
    if slope != 1:
        assert found["log_loss_after"] < found["log_loss_before"] - 0.01


def test_it_is_logistic_regression_on_the_logit():
    scipy = pytest.importorskip("scipy.optimize")
    logits, batch = surveyed(0.6, -0.5, pixels=20_000)
    z, y = logits.flatten().double(), batch.target.flatten().double()

    def loss(at):
        return torch.nn.functional.binary_cross_entropy_with_logits(at[0] * z + at[1], y).item()

    best = scipy.minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}).x
    found = counted((logits, batch)).compute()
    assert [found["slope"], found["offset"]] == pytest.approx(best.tolist(), abs=2e-3)  # bins are 1/64 wide


def test_order_batches_and_merging_do_not_matter_and_invalid_pixels_neither():
    (logits, batch), (more, other) = surveyed(0.5, 0.2, 2000, seed=1), surveyed(0.5, 0.2, 4000, seed=2)
    whole = counted((logits, batch), (more, other)).compute()
    merged = counted((more, other))
    merged.merge(counted((logits, batch)))
    merged.merge(LogitCounts())
    assert merged.compute() == whole
    hidden = batch_of(1 - other.target, torch.zeros_like(other.valid))
    assert counted((logits, batch), (more, other), (more, hidden)).compute() == whole
    assert LogitCounts().compute() == {}


@given(st.floats(0.05, 20), st.floats(-5, 5), st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=20))
@settings(max_examples=50)
def test_a_calibration_keeps_the_order(slope, offset, numbers):
    logits = torch.tensor(sorted(numbers))
    assert (Calibration(slope=slope, offset=offset)(logits).diff() >= 0).all()


@pytest.mark.parametrize("target", [0.0, 1.0])
def test_a_split_of_one_class_is_reported(target):
    logits = torch.randn(1, 2, 8, 8)
    with pytest.raises(DataError, match="all of one class"):
        counted((logits, batch_of(torch.full_like(logits, target)))).compute()


def test_classes_that_the_logits_separate_are_reported_and_so_are_logits_upside_down():
    logits = torch.randn(1, 2, 20, 20, generator=torch.Generator().manual_seed(0))
    for target in ((logits > 0).float(), (logits < 0).float()):
        with pytest.raises(DataError, match="cannot calibrate the network"):
            counted((logits, batch_of(target))).compute()


@pytest.mark.parametrize("settings", [{"slope": 0.0}, {"slope": -1.0}, {"offset": float("nan")}, {"slope": float("inf")}])
def test_a_calibration_that_would_turn_maps_over_is_refused(settings):
    with pytest.raises(ValueError, match=r"must be|'slope'|'offset'"):
        Calibration(**settings)
