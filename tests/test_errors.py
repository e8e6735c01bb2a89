from __future__ import annotations

import pytest

from forestgaps_core.cli.commands.thresholds import read_heights
from forestgaps_core.cli.exit import print_error
from forestgaps_core.config.reading import read_config
from forestgaps_core.errors import ConfigError, shorten, shorten_words
from forestgaps_core.plugins.registry import Plugins

LONG = "a" * 200_000


def test_a_short_text_stays_and_a_long_one_shows_its_length():
    assert shorten("loss") == "loss"
    assert shorten("b" * 99) == "b" * 57 + "..."
    assert shorten(LONG) == "a" * 57 + "... (200,000 characters)"


def test_a_message_keeps_every_word_that_may_be_a_path():
    sentence = f"{'b' * 4095}: is not a file. Give another, such as {'c' * 4000}"
    assert shorten_words(sentence) == sentence
    assert shorten_words(f"found {LONG} , expected a path") == f"found {shorten(LONG, 200)} , expected a path"


@pytest.mark.parametrize("table", [{LONG: {}}, {"loss": {"name": LONG}}, {"training": {LONG: 1}}, {"training": {"epochs": LONG}}])
def test_keys_and_values_of_a_run_file_are_shortened(table):
    with pytest.raises(ConfigError) as caught:
        read_config(table, Plugins())
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("text", [LONG, f"5{LONG}", "-" + "1" * 200_000, "9" * 200_000])
def test_a_long_threshold_is_shortened(text):
    with pytest.raises(ValueError, match="characters") as caught:
        read_heights(text)
    assert len(str(caught.value)) < 400


def test_the_command_line_shortens_whatever_a_message_repeats(capsys):
    print_error(f"{LONG}: no such file")
    assert capsys.readouterr().err == f"Error: {shorten(LONG, 200)} no such file\n".replace("(200,000", "(200,001")
