"""What is printed under "Next:" fits what was done."""

from pathlib import Path

import attrs
import pytest

from forestgaps_core.cli.commands.next_steps import print_next
from forestgaps_core.cli.commands.recipes import recipe_path
from forestgaps_core.cli.commands.runs import is_simulated, print_next_steps
from forestgaps_core.config.reading import load_config
from forestgaps_core.plugins.command_lines import format_command


def test_command_line_is_quoted_for_a_shell() -> None:
    assert format_command("test", "my runs/a b") == "forestgaps test 'my runs/a b'"


def test_a_path_in_a_command_line_is_no_option() -> None:
    assert format_command("predict", Path("-o"), "--out", Path("-b/c d")) == "forestgaps predict ./-o --out './-b/c d'"


def test_print_next_leaves_out_commands_that_are_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    print_next("forestgaps nosuch dsm.tif", "forestgaps test runs/a", "read the card")
    assert capsys.readouterr().out == "\nNext:\n  forestgaps test runs/a\n  read the card\n"
    print_next("forestgaps nosuch dsm.tif")
    assert capsys.readouterr().out == ""


def test_after_training_simulate_is_named_for_simulated_data_only(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    simulated = load_config(recipe_path("quick"))
    print_next_steps(tmp_path, simulated)
    assert "forestgaps simulate landscape" in capsys.readouterr().out
    rasters = load_config(recipe_path("best"))
    assert is_simulated(simulated) and not is_simulated(attrs.evolve(simulated, data=rasters.data))
    print_next_steps(tmp_path, rasters)
    told = capsys.readouterr().out
    assert "forestgaps simulate" not in told and f"forestgaps evaluate {tmp_path}" in told
