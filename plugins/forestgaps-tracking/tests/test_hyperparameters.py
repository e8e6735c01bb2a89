from __future__ import annotations

from forestgaps_tracking.hyperparameters import collect_hyperparameters, flatten


def test_tables_become_dotted_names_and_lists_text() -> None:
    table = {"loss": {"name": "focal", "gamma": 2.0}, "thresholds": {"values": [2.0, 5.0]}, "compile": False}
    assert flatten(table) == {"loss.name": "focal", "loss.gamma": 2.0, "thresholds.values": "2.0, 5.0", "compile": False}


def test_versions_of_the_core_and_of_every_component_stand_beside_the_settings() -> None:
    about = {
        "config": {"loss": {"name": "focal"}},
        "versions": {"torch": "2.13.0"},
        "components": {"loss": {"name": "focal", "distribution": "forestgaps-losses", "version": "0.1.0"}},
    }
    assert collect_hyperparameters(about) == {"loss.name": "focal", "version.torch": "2.13.0", "version.forestgaps-losses": "0.1.0"}


def test_a_trainer_without_a_run_file_has_no_parameters() -> None:
    assert collect_hyperparameters({}) == {}
