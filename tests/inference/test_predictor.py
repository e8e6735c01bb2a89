from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_core import Environment, Predictor, load_config, load_predictor, train_model
from forestgaps_core.data.batch_maker import fill_invalid
from forestgaps_core.errors import CheckpointError, ConfigError
from forestgaps_core.inference.calibration import Calibration
from forestgaps_core.inference.isotonic import isotonic_regression
from forestgaps_core.inference.predictor import TURNS, rotate, rotate_back
from forestgaps_core.kinds import build
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing import example_batch


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins):
    from ..conftest import RUN_FILE

    folder = tmp_path_factory.mktemp("predictor")
    (folder / "run.toml").write_text(RUN_FILE)
    train_model(load_config(folder / "run.toml", plugins=plugins), folder / "run", plugins=plugins)
    return folder / "run"


def question(samples=3):
    generator = torch.Generator().manual_seed(0)
    dsm = torch.rand((samples, 1, 16, 16), generator=generator) * 20 + 400
    return dsm, torch.rand((samples, 1, 16, 16), generator=generator) > 0.1


def test_probabilities_come_for_any_thresholds_in_the_order_requested(run, plugins):
    predictor = load_predictor(run, plugins=plugins)
    dsm, valid = question()
    up, down = predictor(dsm, valid, [2.0, 5.0, 11.0]), predictor(dsm, valid, [11.0, 5.0, 2.0])
    assert up.shape == (3, 3, 16, 16)
    assert torch.equal(up, down.flip(1))
    assert predictor(dsm, valid).shape[1] == 3
    assert predictor.resolution_m == 1.0


def test_a_gap_at_one_threshold_is_a_gap_at_every_higher_one(run, plugins):
    dsm, valid = question()
    probabilities = load_predictor(run, plugins=plugins)(dsm, valid, [1.0, 2.0, 4.0, 8.0, 16.0])
    assert (probabilities.diff(dim=1) >= 0).all()


def test_what_stands_at_invalid_pixels_does_not_matter(run, plugins):
    predictor = load_predictor(run, plugins=plugins)
    dsm, valid = question()
    garbage = torch.where(valid, dsm, torch.nan)
    assert torch.equal(predictor(garbage, valid), predictor(torch.where(valid, dsm, -9999.0), valid))


def test_predicting_needs_the_network_and_nothing_else(run, tmp_path):
    source = (run / "plugins" / "example_plugin.py").read_text()
    for kind in ("losses", "schedulers", "callbacks", "metrics", "data"):
        source = source.replace(f"@hookimpl\ndef forestgaps_{kind}", f"def unused_{kind}")
    (tmp_path / "only_the_network.py").write_text(source)
    plugins = Plugins()
    plugins.add_file(tmp_path / "only_the_network.py")
    assert load_predictor(run, plugins=plugins)(*question()).shape == (3, 3, 16, 16)


def test_without_the_networks_package_the_error_names_which_it_was(run):
    with pytest.raises(CheckpointError, match=r"last.safetensors cannot be used: the local file example_plugin.py is not given"):
        load_predictor(run, plugins=Plugins())


def test_a_folder_without_a_network_and_a_wrong_device_are_reported(run, tmp_path, plugins):
    with pytest.raises(CheckpointError, match="no trained network in"):
        load_predictor(tmp_path, plugins=plugins)
    with pytest.raises(ConfigError, match="found device 'gpu'"):
        load_predictor(run, device="gpu", plugins=plugins)
    with pytest.raises(ConfigError, match="found precision 'half', expected 32, bf16 or 16"):
        load_predictor(run, precision="half", plugins=plugins)


def test_a_network_maps_in_another_precision_than_it_was_trained_in(run, plugins):
    dsm = 400 + 20 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    exact, rounded = (
        load_predictor(run, precision=precision, plugins=plugins)(dsm, torch.ones_like(dsm, dtype=torch.bool))
        for precision in (None, "bf16")
    )
    assert 0 < (exact - rounded).abs().max() < 0.05


# --- nested maps, flips and calibration -----------------------------------------------------------------------------


class Curved(nn.Module):
    """Answers that depend on direction, on shape, and fall from 5 m to 10 m."""

    def __init__(self):
        super().__init__()
        self.looked = nn.Conv2d(1, 1, 3, padding=1)
        with torch.no_grad():
            self.looked.weight.copy_(torch.arange(9.0).reshape(1, 1, 3, 3) / 20)
        self.calls = []

    def forward(self, dsm, valid, thresholds):
        self.calls.append(tuple(dsm.shape[-2:]))
        order = torch.sin(thresholds)[:, :, None, None]
        return self.looked((dsm - 400) / 10) * order + order


def test_networks_that_are_not_monotone_are_made_monotone_by_least_squares():
    predictor = Predictor(model=Curved(), thresholds=(2.0, 5.0, 10.0), resolution_m=1.0)
    dsm, valid = question()
    with torch.inference_mode():
        free = predictor.model(fill_invalid(dsm, valid), valid, torch.tensor([[2.0, 5.0, 10.0]]).expand(3, -1)).sigmoid()
    assert (free.diff(dim=1) < 0).any()
    assert torch.equal(predictor(dsm, valid), isotonic_regression(free))


def test_a_network_monotone_by_construction_is_left_as_it_is_but_for_rounding():
    network = Curved()
    network.monotone = True
    predictor = Predictor(model=network, thresholds=(2.0, 5.0, 10.0), resolution_m=1.0)
    dsm, valid = question()
    found = predictor(dsm, valid)
    assert (found.diff(dim=1) >= 0).all()
    with torch.inference_mode():
        first = network(fill_invalid(dsm, valid), valid, torch.tensor([[2.0]]).expand(3, -1)).sigmoid()
    assert torch.equal(found[:, :1], first), "no pooling with the thresholds above"


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
def test_with_flips_the_map_of_a_turned_dsm_is_the_turned_map(turn, shape):
    generator = torch.Generator().manual_seed(1)
    dsm = torch.rand((2, 1, *shape), generator=generator) * 20 + 400
    valid = torch.rand((2, 1, *shape), generator=generator) > 0.1
    plain, flipped = (Predictor(model=Curved(), thresholds=(5.0, 8.0), resolution_m=1.0, flips=flips) for flips in (False, True))
    upright, leaning = flipped(dsm, valid), flipped(rotate(dsm, turn), rotate(valid, turn))
    assert upright.shape == (2, 2, *shape)
    torch.testing.assert_close(leaning, rotate(upright, turn), atol=1e-6, rtol=0)
    assert len(flipped.model.calls) == 16
    if turn != (0, False):
        assert (plain(rotate(dsm, turn), rotate(valid, turn)) - rotate(plain(dsm, valid), turn)).abs().max() > 0.01


@pytest.mark.parametrize("turn", TURNS)
def test_turning_back_undoes_a_turn_and_all_turns_differ(turn):
    planes = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(rotate_back(rotate(planes, turn), turn), planes)
    assert sum(torch.equal(rotate(planes, turn), rotate(planes, other)) for other in TURNS) == 1


def test_a_run_is_loaded_with_flips_when_requested(run, plugins):
    assert load_predictor(run, plugins=plugins).flips is False
    assert load_predictor(run, flips=True, plugins=plugins)(*question()).shape == (3, 3, 16, 16)


@pytest.mark.parametrize("name", ["unet", "height_unet", "ground_unet"])
@pytest.mark.parametrize("flips", [False, True])
def test_what_is_kept_of_an_answer_is_that_part_of_the_whole_and_that_of_the_network(name, flips):
    installed = Plugins.discover()
    if name not in installed.components("model"):
        pytest.skip("needs forestgaps-models")
    torch.manual_seed(0)
    norm = installed.component("normalization", "group").load()().build()
    offered = {"normalization": lambda: norm, "resolution_m": lambda: 1.0, "thresholds": lambda: (2.0, 5.0)}
    model = build("model", installed.component("model", name).load()(), offered)
    calibration = Calibration(slope=1.3, offset=-0.2)
    predictor = Predictor(
        model=model,
        thresholds=(2.0, 5.0),
        resolution_m=1.0,
        environment=Environment(device="cpu"),
        flips=flips,
        calibration=calibration,
    )
    batch = example_batch(samples=1, size=64, seed=3)
    whole = predictor(batch.dsm, batch.valid, (10.0, 2.0, 5.0))
    kept = predictor(batch.dsm, batch.valid, (10.0, 2.0, 5.0), (slice(11, 50), slice(0, 33)))
    torch.testing.assert_close(kept, whole[..., 11:50, 0:33], rtol=0, atol=1e-6)
    if not flips and getattr(model, "monotone", False):
        with torch.inference_mode():
            surface, levels = fill_invalid(batch.dsm, batch.valid), torch.tensor([[2.0, 5.0, 10.0]])
            plain = calibration(model(surface, batch.valid, levels)).sigmoid()[:, [2, 0, 1]]
        torch.testing.assert_close(whole, plain, rtol=0, atol=1e-6)
