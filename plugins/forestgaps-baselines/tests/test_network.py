from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

import forestgaps_baselines
from forestgaps_baselines import BASELINES, GroundFilterModel, Opening, estimate_ground
from forestgaps_baselines.network import GroundFilterNetwork
from forestgaps_baselines.network_folders import write_network_folders
from forestgaps_core import load_predictor
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing import example_batch

NETWORKS = Path(forestgaps_baselines.__file__).parent / "networks"
NEEDS = {"csf": "CSF", "dsm2dtm": "dsm2dtm", "bulldozer": "bulldozer"}


def make_network(resolution_m: float = 1.0) -> GroundFilterNetwork:
    config = GroundFilterModel(filter=Opening(window_m=30.0), scale_m=0.5)
    return config.build(resolution_m, lambda inner: inner.build())


def test_logits_are_the_threshold_minus_the_height_above_the_filters_ground() -> None:
    batch = example_batch(samples=2, size=64)
    logits = make_network()(batch.dsm, batch.valid, batch.thresholds)
    assert logits.shape == batch.target.shape
    for sample in range(2):
        surface = torch.where(batch.valid, batch.dsm, torch.nan)[sample, 0].double().numpy()
        height = surface - estimate_ground(Opening(window_m=30.0).build(), surface, 1.0)
        inside = np.isfinite(surface)
        for k, threshold in enumerate(batch.thresholds[sample].tolist()):
            expected = (threshold - height[inside]) / 0.5
            np.testing.assert_allclose(logits[sample, k].numpy()[inside], expected, atol=2e-3)


def test_the_pixel_size_of_the_map_is_that_of_the_filter() -> None:
    network = make_network()
    finer = network.for_pixels(0.5)
    assert (finer.resolution_m, finer.context_pixels, network.context_pixels) == (0.5, 200.0, 100.0)
    batch = example_batch(samples=1, size=64)
    alike = make_network(0.5).predict_heights(batch.dsm, batch.valid)
    assert torch.equal(finer.predict_heights(batch.dsm, batch.valid), alike)
    assert not torch.equal(network.predict_heights(batch.dsm, batch.valid), alike)


def test_a_sample_without_data_has_height_0() -> None:
    nothing = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    assert torch.equal(make_network().predict_heights(torch.full((1, 1, 8, 8), 5.0), nothing), torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("name", BASELINES)
def test_each_filter_maps_as_a_network(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    predictor = load_predictor(name, plugins=Plugins.discover())
    rows, columns = np.mgrid[:80, :80]
    dsm = torch.from_numpy(np.where((rows // 8 + columns // 8) % 4 == 0, 12.0, 0.0).astype(np.float32) + 100)[None, None]
    probability = predictor(dsm, torch.ones_like(dsm, dtype=torch.bool), (2.0, 5.0))
    assert probability.shape == (1, 2, 80, 80)
    assert (probability[:, 1] >= probability[:, 0]).all()
    if name != "bulldozer":  # made for rasters of kilometers
        assert ((probability[0, 1] > 0.5) == (dsm[0, 0] < 106)).float().mean() > 0.95


def test_the_folders_are_those_that_the_program_writes(tmp_path: Path) -> None:
    write_network_folders(tmp_path, version("forestgaps-baselines"))
    written = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {path.relative_to(NETWORKS): path.read_bytes() for path in NETWORKS.rglob("*") if path.is_file()}
    assert written == kept
    assert {json.loads(text)["weights"]["parameters"] for path, text in kept.items() if path.name == "network.json"} == {0}
