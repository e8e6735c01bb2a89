from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import rasterio
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from small_network import small

from forestgaps_core.config.command_components import ChosenComponent
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.kinds import COMMAND_KINDS
from forestgaps_core.plugins.registry import ComponentOffer, Plugin, Plugins
from forestgaps_core.testing import check_postprocessor
from forestgaps_rasters.postprocessing.smooth import GaussianMean, Smooth
from forestgaps_rasters.postprocessing.steps import MapSteps, build_steps
from forestgaps_rasters.postprocessing.strips import process_strips
from forestgaps_rasters.prediction.blending import NODATA, Piece, Strip
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.work.executors import ThreadExecutor


@frozen
class Call:
    """A post-processor of a test."""

    run: Any
    changes: str = "probabilities"
    halo: int = 0

    def __call__(self, values: Any, valid: Any) -> Any:
        return self.run(values, valid)


@frozen(kw_only=True)
class Config:
    """Builds what a test says."""

    built: Any

    def build(self) -> Any:
        return self.built


def choose(built: Any, name: str = "mine") -> ChosenComponent:
    return ChosenComponent(
        ComponentOffer("postprocessor", name, Config, Plugin("t-steps", "1.0"), COMMAND_KINDS["postprocessor"]),
        Config(built=built),
        Plugins(),
    )


def steps_of(*built: Call) -> MapSteps:
    return build_steps([choose(one) for one in built], (2.0, 5.0), 1.0, 125)


def dilate(values: Any, valid: Any) -> Any:
    """A gap grows by a pixel."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)))
    rows, columns = values.shape[1:]
    return np.logical_or.reduce([padded[:, r : r + rows, c : c + columns] for r in range(3) for c in range(3)])


def cut_strips(truth: np.ndarray, rows: list[int], columns: list[int]) -> list[Strip]:
    """The raster in strips and pieces with these borders; pieces without data are left out."""
    found = []
    for top, bottom in pairwise(rows):
        pieces = [Piece(left, truth[:, top:bottom, left:right]) for left, right in pairwise(columns)]
        found.append(Strip(top, bottom - top, tuple(piece for piece in pieces if (piece.values != NODATA).any())))
    return found


def assemble(strips: list[Strip], shape: tuple[int, ...], steps: MapSteps) -> np.ndarray:
    out = np.full((2, *shape), NODATA, np.uint8)
    for _, parts in process_strips(strips, shape[0], steps):
        for part in parts:
            place = (slice(part.row, part.row + part.gaps.shape[1]), slice(part.column, part.column + part.gaps.shape[2]))
            out[:, :, *place] = part.probabilities, part.gaps
    return out


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.integers(1, 89), max_size=12, unique=True),
    columns=st.lists(st.integers(1, 69), max_size=4, unique=True),
    seed=st.integers(0, 99),
    kinds=st.sets(st.sampled_from(["smooth", "dilate"])),
)
def test_a_map_does_not_depend_on_its_strips(rows, columns, seed, kinds, monkeypatch_columns) -> None:
    random = np.random.default_rng(seed)
    truth = np.sort(random.integers(0, 251, (2, 90, 70)), axis=0).astype(np.uint8)
    truth[:, random.random((90, 70)) < 0.2] = NODATA
    truth[:, 30:60, 20:50] = NODATA
    built = ([GaussianMean(2.5)] if "smooth" in kinds else []) + ([Call(dilate, "gaps", 1)] if "dilate" in kinds else [])
    steps = steps_of(*built)
    whole = assemble(cut_strips(truth, [0, 90], [0, 70]), truth.shape, steps)
    parts = assemble(cut_strips(truth, [0, *sorted(rows), 90], [0, *sorted(columns), 70]), truth.shape, steps)
    assert np.array_equal(whole, parts)
    assert np.array_equal(whole[0] == NODATA, truth == NODATA)
    valid = truth[0] != NODATA
    assert (whole[1][0] <= whole[1][1])[valid].all()
    if not kinds:
        assert np.array_equal(whole[0], truth)


@pytest.fixture(scope="module")
def monkeypatch_columns():
    """Parts of a few columns, so that there are many."""
    patch = pytest.MonkeyPatch()
    patch.setattr("forestgaps_rasters.postprocessing.strips.PART_COLUMNS", 16)
    yield
    patch.undo()


def test_smooth_keeps_the_contract_and_a_constant_map() -> None:
    check_postprocessor(Smooth())
    check_postprocessor(Smooth(sigma_m=2.3))
    valid = np.ones((30, 30), np.bool_)
    valid[3, 4:20] = False
    found = GaussianMean(1.0)(np.where(valid, np.float32(0.3), 0)[None], valid)
    assert found[0][valid] == pytest.approx(0.3)


def test_smooth_computes_the_mean_with_gaussian_weights() -> None:
    values, valid = np.zeros((1, 15, 15), np.float32), np.ones((15, 15), np.bool_)
    values[0, 7, 7] = 1
    step = GaussianMean(1.0)
    assert step.halo == 3
    weights = np.exp(-0.5 * np.arange(-3, 4) ** 2)
    assert step(values, valid)[0, 7, 6] == pytest.approx(weights[3] * weights[2] / weights.sum() ** 2, rel=1e-5)


@pytest.mark.parametrize(
    ("built", "sentence"),
    [
        (Call(lambda values, valid: values[:1]), r"the postprocessor 'mine' of t-steps 1\.0 returned float32 \(1, 4, 5\)"),
        (Call(lambda values, valid: values.astype(float)), "returned float64"),
        (Call(lambda values, valid: None), "returned a NoneType"),
        (Call(lambda values, valid: values * np.nan), r"not probabilities \(0 to 1\)"),
        (Call(lambda values, valid: values + 2), r"not probabilities \(0 to 1\)"),
        (Call(lambda values, valid: 1 / 0), "failed: ZeroDivisionError"),
        (Call(lambda values, valid: values[::-1]), "must keep maps monotone"),
        (Call(lambda values, valid: values[::-1], "gaps"), "must keep maps monotone"),
    ],
)
def test_a_wrong_step_is_named(built, sentence) -> None:
    part = np.array([10, 200], np.uint8)[:, None, None] * np.ones((2, 4, 5), np.uint8)
    part[:, 0, 0] = NODATA
    with pytest.raises(PluginError, match=sentence):
        steps_of(built).apply(part)


def test_rounding_that_disturbs_the_order_is_repaired() -> None:
    part = np.full((2, 3, 3), 100, np.uint8)

    def lower_second(values: Any, valid: Any) -> Any:
        values[1] -= np.float32(0.003)
        return values

    probabilities, gaps = steps_of(Call(lower_second)).apply(part)
    assert (probabilities[0] == probabilities[1]).all()
    assert (gaps == 0).all()


@pytest.mark.parametrize(
    "built", [Call(None, halo=-1), Call(None, halo=5000), Call(None, halo=1.5), Call(None, changes="both"), object(), len]
)
def test_what_is_not_a_post_processor_is_refused(built) -> None:
    with pytest.raises(PluginError, match="is not a post-processor"):
        build_steps([choose(built)], (2.0,), 1.0, 125)


def test_probabilities_do_not_change_after_gaps() -> None:
    with pytest.raises(ConfigError, match=r"--postprocess b changes probabilities.*Name it before"):
        build_steps([choose(Call(None, "gaps"), "a"), choose(Call(None), "b")], (2.0,), 1.0, 125)


def test_a_map_has_the_steps_in_its_metadata_and_does_not_depend_on_executor_or_resuming(raster, site, tmp_path) -> None:
    dsm = site("wood", 300, 260) / "dsm.tif"
    plain = MapOptions(window=128, overlap=64)
    smooth = ChosenComponent(
        ComponentOffer("postprocessor", "smooth", Smooth, Plugin("forestgaps-rasters", "0.1.0"), COMMAND_KINDS["postprocessor"]),
        Smooth(sigma_m=1.5),
        Plugins(),
    )
    options = MapOptions(window=128, overlap=64, postprocess=(smooth,))
    before = predict_raster(small(), dsm, tmp_path / "before", [2, 5], plain)
    one = predict_raster(small(), dsm, tmp_path / "one", [2, 5], options)
    other = predict_raster(small(), dsm, tmp_path / "other", [2, 5], options, executor=ThreadExecutor(1))
    assert one.probabilities.read_bytes() == other.probabilities.read_bytes()
    assert one.gaps.read_bytes() == other.gaps.read_bytes()
    with rasterio.open(before.probabilities) as file:
        raw = file.read()
        assert "FORESTGAPS_POSTPROCESSING" not in file.tags()
    valid = raw[0] != NODATA
    expected = GaussianMean(1.5)(np.where(valid, raw, 0).astype(np.float32) / np.float32(250), valid)
    for path in (one.probabilities, one.gaps):
        with rasterio.open(path) as file:
            found = file.read()
            recorded = json.loads(file.tags()["FORESTGAPS_POSTPROCESSING"])
            assert recorded == [{"name": "forestgaps-rasters:smooth", "version": "0.1.0", "settings": {"sigma_m": 1.5}}]
        if path == one.probabilities:
            assert np.array_equal(found[:, valid], np.rint(expected * 250).astype(np.uint8)[:, valid])
            assert not np.array_equal(found, raw)
        else:
            assert (found[0] <= found[1])[valid].all()
            assert one.gap_fraction == pytest.approx(dict(zip((2.0, 5.0), (found[:, valid] == 1).mean(1), strict=True)))
