"""What the package ships."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from forestgaps_core import load_predictor
from forestgaps_core.inference.predictor import Predictor
from forestgaps_core.plugins.registry import Plugins
from forestgaps_pretrained.card import CLEAR_DIFFERENCE, make_score_table
from forestgaps_pretrained.scores import find_best_filter

SMALL = Path(str(files("forestgaps_pretrained"))) / "small"
MEGABYTES = 5


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor("pretrained", device="cpu")


def test_folder_contains_only_data_files_and_is_small() -> None:
    assert sorted(path.name for path in SMALL.iterdir()) == ["README.md", "model.safetensors", "network.json", "scores.json"]
    assert sum(path.stat().st_size for path in SMALL.iterdir()) <= MEGABYTES * 1e6


def test_card_contains_every_score_credit_and_command() -> None:
    text, scores = (SMALL / "README.md").read_text(encoding="utf-8"), json.loads((SMALL / "scores.json").read_text())
    for line in make_score_table(scores):
        assert line in text
    assert {"nz_westport, southern half"} < {row["area"] for row in scores}
    for said in ("CC BY 4.0", "10.5069/G9Z31WV0", "python -m forestgaps_pretrained.retrain", "## Limits"):
        assert said in text


def test_scores_on_the_real_site_exceed_the_baseline_and_no_filter_is_clearly_better() -> None:
    scores = json.loads((SMALL / "scores.json").read_text())
    for row in scores:
        if row["area"].startswith("nz_westport") and 0.01 <= row["gap_fraction"] <= 0.95:
            assert row["network"] > row["baseline"]
            assert find_best_filter(row)[1] - row["network"] < CLEAR_DIFFERENCE, f"at {row['threshold_m']:g} m"


def test_run_files_train_and_fine_tune_this_network() -> None:
    plan = json.loads((SMALL / "network.json").read_text())
    for name in ("run.toml", "finetune.toml"):
        table = tomllib.loads((files("forestgaps_pretrained") / name).read_text(encoding="utf-8"))
        for key, value in table["model"].items():
            if not isinstance(value, dict):
                assert plan["config"]["model"][key] == value, f"{name}: model.{key}"
        assert plan["config"]["normalization"]["name"] == table["normalization"]["name"]
        assert plan["config"]["training"]["batch_size"] == table["training"]["batch_size"]


def test_mean_iou_on_new_landscapes_exceeds_the_baseline(predictor) -> None:
    plugins = Plugins.discover()
    if "landscapes" not in plugins.components("data"):
        pytest.skip("needs forestgaps-landscapes")
    data = (
        plugins.component("data", "landscapes").load()(train=1, validation=1, test=4, size_px=192, tile_px=192, seed=2026).build()
    )
    thresholds = (2.0, 5.0, 10.0)
    counts = torch.zeros(2, 2, len(thresholds))  # predicted, true
    for index in range(len(data.test)):
        tile = data.test.read(index, 0)
        gap = (predictor(tile.dsm[None, None], tile.valid[None, None], thresholds)[0] > 0.5)[:, tile.valid]
        truth = torch.stack([tile.height[tile.valid] < threshold for threshold in thresholds])
        for said in (0, 1):
            for true in (0, 1):
                counts[said, true] += ((gap == bool(said)) & (truth == bool(true))).sum(1)
    false_positives, false_negatives = counts[1, 0], counts[0, 1]
    ious = [counts[kind, kind] / (counts[kind, kind] + false_positives + false_negatives) for kind in (0, 1)]
    fraction = counts[:, 1].sum(0) / counts.sum((0, 1))
    assert ((ious[0] + ious[1]) / 2 > torch.maximum(fraction, 1 - fraction) / 2 + 0.1).all()


def test_maps_are_monotone_in_the_threshold_at_any_elevation(predictor) -> None:
    dsm = torch.rand((1, 1, 96, 80), generator=torch.Generator().manual_seed(0)) * 30 + 1500
    valid = torch.ones_like(dsm, dtype=torch.bool)
    probabilities = predictor(dsm, valid, (2.0, 3.5, 5.0, 10.0, 30.0))
    assert (probabilities.diff(dim=1) >= 0).all()
    assert (predictor(dsm - 1400, valid, (5.0,)) - predictor(dsm, valid, (5.0,))).abs().max() < 0.02


def test_window_edges_and_other_samples_do_not_change_the_map(predictor) -> None:
    plugins = Plugins.discover()
    if "landscapes" not in plugins.components("data"):
        pytest.skip("needs forestgaps-landscapes")
    data = plugins.component("data", "landscapes").load()(train=1, validation=1, test=1, size_px=576, tile_px=576, seed=7).build()
    tile, thresholds = data.test.read(0, 0), (2.0, 5.0, 10.0, 20.0)
    dsm, valid = tile.dsm[None, None], tile.valid[None, None]
    whole = predictor(dsm, valid, thresholds)
    margin = round(predictor.model.context_m)
    for begin, size in ((0, 384), (128, 448), (192, 384)):
        part = np.s_[..., begin : begin + size, begin : begin + size]
        alone = predictor(dsm[part], valid[part], thresholds)
        inner = slice(margin if begin else 0, size if begin + size == 576 else size - margin)
        apart = torch.where(valid[part], (alone - whole[part]).abs(), 0.0)[..., inner, inner]
        assert apart.numel() > 0
        assert apart.max() < 0.02
        together = predictor(torch.cat([dsm[part], dsm[part] + 500]), valid[part].expand(2, -1, -1, -1), thresholds)
        assert (together[:1] - alone).abs().max() < 1e-3


@pytest.mark.parametrize("hole", ["none", "collar", "disc", "speckle"])
@pytest.mark.parametrize("around", [(0, 28, 0, 28), (0, 156, 0, 28), (64, 0, 128, 192)])
def test_padding_does_not_change_the_map_near_invalid_regions(predictor, hole, around) -> None:
    generator = torch.Generator().manual_seed(4)
    y, x = torch.meshgrid(torch.arange(100.0), torch.arange(100.0), indexing="ij")
    canopy = torch.rand(17, 17, generator=generator).repeat_interleave(6, 0).repeat_interleave(6, 1)[:100, :100] * 25
    dsm = (900 + 0.5 * y - 0.2 * x + canopy)[None, None]
    valid = {
        "none": torch.ones(100, 100, dtype=torch.bool),
        "collar": (y > 9) & (x < 83),
        "disc": (y - 40) ** 2 + (x - 60) ** 2 > 400,
        "speckle": torch.rand(100, 100, generator=generator) > 0.3,
    }[hole][None, None]
    thresholds = (2.0, 5.0, 10.0, 20.0)
    alone = predictor(dsm, valid, thresholds)
    left, _, top, _ = around
    wide = predictor(
        torch.nn.functional.pad(torch.where(valid, dsm, -9999.0), around, value=4000.0),
        torch.nn.functional.pad(valid, around),
        thresholds,
    )
    inside = wide[..., top : top + 100, left : left + 100]
    assert torch.where(valid, (inside - alone).abs(), 0.0).max() < 0.02


def test_predict_works_without_a_run(tmp_path) -> None:
    for needed in ("rasterio", "forestgaps_rasters", "forestgaps_landscapes"):
        pytest.importorskip(needed)
    predict = ["predict", "plot/dsm.tif", "--out", "maps", "-t", "2", "-t", "5"]
    for words in (["simulate", "plot", "--size", "96"], predict):
        line = [sys.executable, "-m", "forestgaps_core", *words]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "maps" / "gaps.tif").is_file()
