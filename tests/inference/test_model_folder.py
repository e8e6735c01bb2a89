from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from forestgaps_core import Predictor, Pretrained, hookimpl, load_config, load_predictor, save_network, train_model
from forestgaps_core.errors import CheckpointError, DiskError
from forestgaps_core.files.checkpoint import load_checkpoint, save_checkpoint
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_core.inference.model_folder import CARD, PLAN, WEIGHTS, read_network_state
from forestgaps_core.plugins.registry import Plugin, Plugins

pytest.importorskip("safetensors")
pytest.importorskip("numpy")


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins):
    from ..conftest import RUN_FILE

    folder = tmp_path_factory.mktemp("networks")
    (folder / "run.toml").write_text(RUN_FILE)
    train_model(load_config(folder / "run.toml", plugins=plugins), folder / "run", plugins=plugins)
    return folder / "run"


@pytest.fixture
def network(run, plugins, tmp_path):
    return save_network(run, tmp_path / "network", plugins=plugins)


def question():
    generator = torch.Generator().manual_seed(0)
    dsm = torch.rand((2, 1, 16, 16), generator=generator) * 20 + 400
    return dsm, torch.rand((2, 1, 16, 16), generator=generator) > 0.1


def changed_plan(network, **changes):
    plan = json.loads((network / PLAN).read_text())
    for key, value in changes.items():
        plan.pop(key) if value is None else plan.update({key: value})
    (network / PLAN).write_text(json.dumps(plan))


def test_a_network_folder_answers_bit_for_bit_like_its_run(run, network, plugins):
    expected = load_predictor(run, plugins=plugins)
    for place in (network, str(network), network / PLAN, network / WEIGHTS):
        found = load_predictor(place, plugins=plugins)
        assert torch.equal(found(*question()), expected(*question()))
    assert (found.thresholds, found.resolution_m) == (expected.thresholds, expected.resolution_m)


def test_half_is_near_and_takes_half(run, network, plugins, tmp_path):
    half = save_network(run, tmp_path / "half", half=True, plugins=plugins)
    expected, found = (load_predictor(place, plugins=plugins)(*question()) for place in (network, half))
    assert (found - expected).abs().max() < 0.01
    assert not torch.equal(found, expected)
    weights = read_network_state(half)["model"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32, torch.int64}
    trained = load_checkpoint(run / "checkpoints" / "last.safetensors")["model"]
    assert torch.equal(weights["norm.running_var"], trained["norm.running_var"]), "what is one-dimensional keeps its bits"
    (again,) = [save_network(half, tmp_path / "again", half=True, plugins=plugins)]
    assert (again / WEIGHTS).read_bytes() == (half / WEIGHTS).read_bytes()


def test_it_holds_what_builds_the_network_and_nothing_of_the_training_or_the_machine(run, network):
    plan = json.loads((network / PLAN).read_text())
    assert plan["weights"]["sha256"] == hashlib.sha256((network / WEIGHTS).read_bytes()).hexdigest()
    assert plan["weights"]["bytes"] == (network / WEIGHTS).stat().st_size
    assert set(plan["config"]) == {"model", "normalization", "thresholds", "training", "environment"}
    assert plan["config"]["model"]["name"] == "example_plugin.py:net"
    assert plan["components"]["model"]["distribution"] == "example_plugin.py"
    assert str(run.parent) not in (network / PLAN).read_text()
    card = (network / CARD).read_text()
    assert "pixels of 1 m" in card
    assert "2, 5, 10 m" in card


def test_a_calibration_scales_the_logits_and_is_kept(run, plugins, tmp_path):
    plain = load_predictor(run, plugins=plugins)
    scaled = save_network(run, tmp_path / "scaled", calibration={"slope": 0.5, "offset": 0.3}, plugins=plugins)
    again = save_network(scaled, tmp_path / "again", plugins=plugins)
    dsm, valid = question()
    one = plain(dsm, valid, [5.0])
    for place in (scaled, again):
        found = load_predictor(place, plugins=plugins)(dsm, valid, [5.0])
        torch.testing.assert_close(found.logit(), 0.5 * one.logit() + 0.3, atol=1e-4, rtol=1e-4)
    changed_plan(scaled, calibration={"slope": -1.0, "offset": 0.0})
    with pytest.raises(CheckpointError, match="calibration"):
        load_predictor(scaled, plugins=plugins)


def test_an_existing_folder_is_left_alone_and_a_failed_one_leaves_nothing(run, network, plugins, tmp_path):
    before = (network / PLAN).read_bytes()
    with pytest.raises(DiskError, match="exists already; nothing is overwritten"):
        save_network(run, network, plugins=plugins)
    assert (network / PLAN).read_bytes() == before
    with pytest.raises(TypeError):
        save_network(run, tmp_path / "broken", card=7, plugins=plugins)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network"]


def test_a_diverged_network_is_not_shared(run, plugins, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    state = load_checkpoint(run / "checkpoints" / "last.safetensors")
    state["model"]["first.weight"][0] = torch.nan
    save_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors", state)
    with pytest.raises(CheckpointError, match=r"'first.weight' are not all numbers"):
        save_network(tmp_path / "run", tmp_path / "network", plugins=plugins)
    state["model"]["first.weight"][0] = 1e6
    save_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors", state)
    with pytest.raises(CheckpointError, match="beyond the range of float16"):
        save_network(tmp_path / "run", tmp_path / "network", half=True, plugins=plugins)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda n: (n / WEIGHTS).unlink(), "the network is incomplete"),
        (lambda n: (n / WEIGHTS).write_bytes((n / WEIGHTS).read_bytes()[:-1] + b"x"), "does not have the checksum"),
        (lambda n: (n / PLAN).write_text("{"), "it is no JSON"),
        (lambda n: (n / PLAN).write_text("[]"), "found format 'list'"),
        (lambda n: changed_plan(n, format=2), "found format 2, this version reads 1"),
        (lambda n: changed_plan(n, resolution_m=None), "incomplete or damaged: resolution_m"),
        (lambda n: changed_plan(n, config={"model": {}}), r"config.thresholds, config.training, config.environment"),
    ],
)
def test_a_damaged_network_is_reported(network, plugins, spoil, sentence):
    spoil(network)
    with pytest.raises(CheckpointError, match=sentence):
        load_predictor(network, plugins=plugins)


def test_weights_are_never_unpickled(network, plugins, tmp_path):
    """A pickle that would write a file, in the place of the weights and with the right checksum."""
    import pickle

    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    data = pickle.dumps(Payload())
    pickle.loads(data).close()
    (tmp_path / "touched").unlink()  # so the payload works where it is let
    (network / WEIGHTS).write_bytes(data)
    plan = json.loads((network / PLAN).read_text())
    changed_plan(network, weights={**plan["weights"], "sha256": hashlib.sha256(data).hexdigest()})
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_predictor(network, plugins=plugins)
    assert not (tmp_path / "touched").exists()


def test_a_network_has_no_checkpoints_to_choose_from(network, plugins):
    with pytest.raises(CheckpointError, match="leave out the checkpoint 'last'"):
        load_predictor(network, checkpoint="last", plugins=plugins)


# --- brought along by a package -------------------------------------------------------------------------------------


@pytest.fixture
def bringing(network, tmp_path, monkeypatch):
    """The plugins of a process where a package brings the network along as `small_one`."""
    from types import ModuleType

    from ..conftest import EXAMPLE_PLUGIN

    package = tmp_path / "forestgaps_bringing"
    package.mkdir()
    (package / "__init__.py").write_text("")
    network.rename(package / "small")
    monkeypatch.syspath_prepend(tmp_path)
    module = ModuleType("bringing")
    records = {
        "small_one": Pretrained("forestgaps_bringing:small", "A small one."),
        "gone": Pretrained("forestgaps_bringing:gone", ""),
    }
    module.forestgaps_networks = hookimpl(lambda: records)
    module.forestgaps_networks.__name__ = "forestgaps_networks"
    found = Plugins()
    found.add_file(EXAMPLE_PLUGIN)
    plugin = Plugin("forestgaps-bringing", "1.0")
    found.records.append(plugin)
    found.register(lambda: module, plugin)
    assert plugin.failed is None, plugin.reason
    yield found
    sys.modules.pop("forestgaps_bringing", None)


def test_an_installed_network_is_found_by_its_name(bringing, run):
    predictor = load_predictor("small_one", plugins=bringing)
    assert isinstance(predictor, Predictor)
    assert torch.equal(predictor(*question()), load_predictor(run, plugins=bringing)(*question()))


def test_what_is_on_disk_comes_before_a_name(bringing, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "small_one")
    (tmp_path / "small_one" / "checkpoints" / "last.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="damaged or not a checkpoint"):
        load_predictor("small_one", plugins=bringing)


def test_a_name_that_no_package_offers_is_reported_with_those_there_are(bringing, plugins):
    with pytest.raises(
        CheckpointError, match=r"no trained network in small_on.*did you mean 'small_one'.*networks: gone, small_one"
    ):
        load_predictor("small_on", plugins=bringing)
    with pytest.raises(CheckpointError, match=r"installed networks: none; pip install"):
        load_predictor("elsewhere", plugins=plugins)
    with pytest.raises(
        CheckpointError, match=r"comes with forestgaps-pretrained, which is not installed; pip install forestgaps-pre"
    ):
        load_predictor("pretrained", plugins=plugins)
    with pytest.raises(CheckpointError, match=r"the network 'gone' of forestgaps-bringing 1.0: there is no network.json"):
        load_predictor("gone", plugins=bringing)


def leave_draft(out: Path) -> None:
    """What a killed command leaves of its result, where a user put a file."""
    with hold_draft(locate_draft(out), out, "test") as draft:
        content = draft.content / out.name
        content.mkdir(parents=True)
        (content / "mine.tif").write_text("mine")


def test_a_file_of_the_user_in_the_draft_of_a_shared_network_survives(run, plugins, tmp_path, caplog):
    out = tmp_path / "network"
    leave_draft(out)
    save_network(run, out, plugins=plugins)
    assert (out / "mine.tif").read_text() == "mine"
    assert f"{out}: contains what this program did not write (mine.tif)" in caplog.text
    assert not locate_draft(out).exists()
