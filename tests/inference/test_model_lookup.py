"""What a path or name on the command line stands for."""

from pathlib import Path

import pytest

from forestgaps_core import CheckpointError
from forestgaps_core.inference.model_folder import load_trained_network
from forestgaps_core.inference.model_lookup import is_trained_network, require_run
from forestgaps_core.plugins.registry import Plugins


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/first/checkpoints").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    for name in (
        "runs/first/run.toml",
        "runs/first/checkpoints/best.safetensors",
        "model/network.json",
        "model/model.safetensors",
        "own.toml",
    ):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "loose.safetensors").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    return tmp_path


TRAINED = (
    "runs/first",
    "runs/first/",
    "runs/first/checkpoints/best.safetensors",
    "model",
    "model/network.json",
    "model/model.safetensors",
)


@pytest.mark.parametrize("place", TRAINED)
def test_is_trained_knows_runs_checkpoints_and_model_folders(folder: Path, place: str) -> None:
    assert is_trained_network(Path(place), Plugins())


@pytest.mark.parametrize("place", ["empty", "own.toml", "nowhere", "dsm.tif", "runs"])
def test_is_trained_refuses_what_is_not_a_network(folder: Path, place: str) -> None:
    assert not is_trained_network(Path(place), Plugins())


def test_is_trained_knows_installed_networks_but_prefers_what_is_on_disk(folder: Path) -> None:
    plugins = Plugins.discover()
    assert is_trained_network(Path("pretrained"), plugins)
    (folder / "pretrained").mkdir()
    assert not is_trained_network(Path("pretrained"), plugins)


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("runs/first/checkpoints/best.safetensors", "Type: forestgaps test runs/first --checkpoint best"),
        ("loose.safetensors", "Type: forestgaps evaluate loose.safetensors --data FOLDER"),
        ("model", "Type: forestgaps evaluate model --data FOLDER"),
        ("pretrained", "Type: forestgaps evaluate pretrained --data FOLDER"),
        ("own.toml", "Type: forestgaps train own.toml"),
        ("empty", "empty is not a run folder"),
        ("runs/frist", "no such run folder (did you mean 'first'?); run folders there: first"),
        ("pretraned", "did you mean 'pretrained'?"),
    ],
)
def test_require_run_prints_what_to_type(folder: Path, place: str, sentence: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        require_run(Path(place), "test", Plugins.discover())
    assert sentence in str(caught.value)


def test_require_run_takes_a_run_folder(folder: Path) -> None:
    require_run(Path("runs/first"), "test", Plugins())


def test_require_run_names_the_way_to_train_further(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"forestgaps train RUN\.toml --from model"):
        require_run(Path("model"), "train --resume", Plugins())


def test_a_run_file_in_place_of_a_network_names_its_run_folder(folder: Path) -> None:
    for place, name in (("runs/first/run.toml", "runs/first"), ("own.toml", "RUN")):
        with pytest.raises(CheckpointError, match=f"is a run file, not a trained network. Name the run folder: {name}"):
            load_trained_network(Path(place), plugins=Plugins())
