"""`-t` in every spelling that people use."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from forestgaps_core.cli.commands.thresholds import Thresholds, join_heights, spread_thresholds
from forestgaps_core.config import thresholds

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def show(files: list[str], threshold: Thresholds = None, verbose: bool = False) -> None:
    typer.echo(f"{' '.join(files)}: {threshold}")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, spread_thresholds(typer.main.get_command(app), arguments))
    return result.exit_code, result.stdout.strip(), result.stderr


@pytest.mark.parametrize(
    ("words", "heights"),
    [
        (["-t", "2", "-t", "5"], [2, 5]),
        (["-t", "2,5,10"], [2, 5, 10]),
        (["-t", "2", "5", "10"], [2, 5, 10]),
        (["-t", "2,", "5,", "10"], [2, 5, 10]),
        (["-t", "2; 5"], [2, 5]),
        (["-t", "2 5"], [2, 5]),
        (["-t", "2,5,"], [2, 5]),
        (["-t", "2.5,5"], [2.5, 5]),
        (["-t", "5m"], [5]),
        (["-t", "5 m"], [5]),
        (["-t", "2m,5 m; 10 metres"], [2, 5, 10]),
        (["-t2", "5"], [2, 5]),
        (["--threshold=2", "5"], [2, 5]),
        (["--threshold", "2m", "5m", "--verbose"], [2, 5]),
        (["-t", ".5"], [0.5]),
        (["-t", "10,2"], [10, 2]),
    ],
)
def test_thresholds_are_read_in_every_usual_spelling(words: list[str], heights: list[float]) -> None:
    code, out, _ = run("dsm.tif", *words)
    assert (code, out) == (0, f"dsm.tif: {[float(height) for height in heights]}")


@pytest.mark.parametrize(
    "word", ["-5", "nan", "inf", "0", "-0", "abc", "16ft", "500cm", "5mm", "1e3", "5..", "2-5", ",", "", "⅔", "0x10"]
)
def test_thresholds_that_are_not_heights_are_refused_with_the_value_named(word: str) -> None:
    code, _, error = run("dsm.tif", "-t", word)
    assert code == 2 and repr(word) in error and "such as -t 5" in error


def test_a_wrong_threshold_after_right_ones_is_named() -> None:
    code, _, error = run("dsm.tif", "-t", "2", "5", "-7")
    assert code == 2 and "'-7' is not above 0 m" in error


def test_two_whole_numbers_with_a_comma_are_explained() -> None:
    assert "note: -t 2,5 means two thresholds, 2 m and 5 m; for 2.5 m write -t 2.5" in run("dsm.tif", "-t", "2,5")[2]
    assert not run("dsm.tif", "-t", "2,5,10")[2] and not run("dsm.tif", "-t", "2;5")[2]


def test_a_repeated_threshold_is_used_once_and_reported() -> None:
    code, out, error = run("dsm.tif", "-t", "5", "-t", "2,5")
    assert (code, out) == (0, "dsm.tif: [5.0, 2.0]") and "5 m is given more than once" in error


def test_a_file_with_the_name_of_a_number_remains_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    assert run("-t", "5", "2024")[1] == "2024: [5.0]"
    assert run("-t", "5", "dsm.tif")[1] == "dsm.tif: [5.0]"
    assert run("-t", "5", "--", "7")[1] == "7: [5.0]"


def test_commands_without_the_option_keep_their_arguments() -> None:
    other = typer.Typer()

    @other.command()
    def command(files: list[str], text: str = typer.Option("", "-t")) -> None: ...

    assert spread_thresholds(typer.main.get_command(other), ["-t", "5", "7"]) == ["-t", "5", "7"]


@pytest.mark.parametrize("heights", [[5, 5.0000001], [2, 5.0000001, 5], [10.00001, 10.0], [0.1234567, 0.1234568]])
def test_thresholds_that_names_do_not_distinguish_are_refused_by_name(heights):
    with pytest.raises(typer.BadParameter, match=r"are both \S+ m when written with 6 digits") as caught:
        join_heights(heights)
    assert sum(repr(float(height)) in str(caught.value) for height in map(float, heights)) == 2
    with pytest.raises(ValueError, match="when written with 6 digits"):
        thresholds.Thresholds(values=tuple(sorted(map(float, heights))))


def test_thresholds_that_differ_in_their_sixth_digit_are_two():
    assert join_heights([10.0001, 10.0, 5.0]) == [10.0001, 10.0, 5.0]
