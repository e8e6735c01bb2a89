from __future__ import annotations

import attrs
import pytest

from forestgaps_core.errors import ConfigError
from forestgaps_evaluation.counting.network import open_network
from forestgaps_evaluation.protocol.seeds import list_differences, note_seeds, parse_seeds, train_seeds


def test_seeds_are_whole_numbers_each_once():
    assert parse_seeds("1, 2,30") == (1, 2, 30)
    for text in ("", "1,,2", "1,-2", "1,1.5", "3,3", "one"):
        with pytest.raises(ConfigError, match="expected different whole numbers"):
            parse_seeds(text)


def test_a_run_file_is_trained_once_for_each_seed(run_file, plugins, tmp_path):
    runs = train_seeds(run_file, (1, 2), tmp_path / "out", plugins)
    assert [run.name for run in runs] == ["seed-1", "seed-2"]
    networks = [open_network(run, device="cpu", plugins=plugins) for run in runs]
    assert [network.seed for network in networks] == [1, 2]
    first, second = (network.predictor.model.scale.item() for network in networks)
    assert first != second
    assert note_seeds(networks) == []
    again = train_seeds(run_file, (1, 2), tmp_path / "out", plugins)
    assert again == runs
    assert open_network(runs[0], device="cpu", plugins=plugins).predictor.model.scale.item() == first, (
        "what is there is taken as it is"
    )


def test_a_folder_of_another_run_is_refused(run_file, plugins, tmp_path):
    train_seeds(run_file, (1,), tmp_path, plugins)
    other = tmp_path / "other.toml"
    other.write_text(run_file.read_text().replace("epochs = 2", "epochs = 1"))
    with pytest.raises(ConfigError, match=r"they differ in training\.epochs \(1, 2\)"):
        train_seeds(other, (1,), tmp_path, plugins)


def test_what_differs_besides_the_seed_is_reported():
    tables = [
        {"environment": {"seed": seed, "device": "cpu"}, "loss": {"name": "focal", "focus": focus}, **more}
        for seed, focus, more in [(1, 2.0, {}), (2, 1.5, {"scheduler": {"name": "constant"}})]
    ]
    assert list_differences(tables) == ["loss.focus (2.0, 1.5)", "scheduler.name (not set, constant)"]
    assert list_differences([tables[0], tables[0]]) == []


def test_runs_that_are_not_seeds_of_one_are_noted(trained):
    same = attrs.evolve(trained)
    other = attrs.evolve(trained, table={**trained.table, "training": {**trained.table["training"], "epochs": 9}})
    assert note_seeds([trained, same]) == ["some runs have the same seed (4, 4)"]
    assert "training.epochs (2, 9)" in note_seeds([trained, other])[0]
