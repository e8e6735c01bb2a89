from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from forestgaps_core.cli.commands import installed
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.plugins.local_files import FILES
from forestgaps_evaluation.commands.evaluate import evaluate

NAMES = ["evaluation.csv", "evaluation.json", "evaluation.md"]


@pytest.fixture
def call(plugins, monkeypatch):
    monkeypatch.setattr(installed, "_found", [plugins])
    app = typer.Typer()
    app.command()(evaluate)

    def run(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments), "--device", "cpu", "--resamples", "100"], env={"COLUMNS": "200"})
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_a_run_is_evaluated_and_written(call, run, tmp_path):
    result = call(run, "--out", tmp_path / "new")
    assert result.exit_code == 0
    assert "mean IoU" in result.stdout
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == NAMES
    found = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    assert [row["threshold"] for row in found["rows"] if row["by"] == "all"] == [2, 3, 5, 10, 15, 20, 25, 30]


def test_the_lines_after_an_evaluation_repeat_the_files_that_were_given(call, run, tmp_path, monkeypatch):
    (tmp_path / "mine.py").touch()
    monkeypatch.setenv(FILES, json.dumps([str(tmp_path / "mine.py")]))
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    monkeypatch.setattr("forestgaps_evaluation.commands.evaluate.print_next", lambda *given: lines.extend(given))
    call(run, "-t", 5)
    assert [line.split()[:4] for line in lines] == [["forestgaps", "-p", "mine.py", command] for command in ("report", "predict")]


def test_json_is_for_programs(call, run):
    result = call(run, "-t", 5, "-t", 2, "--split", "validation", "--json")
    found = json.loads(result.stdout)
    assert found["split"] == "validation"
    assert [row["threshold"] for row in found["rows"] if row["by"] == "all"] == [2, 5]


def test_seeds_are_trained_and_evaluated_together_with_their_leakage(call, run_file, tmp_path):
    out = tmp_path / "seeds"
    result = call("--train", run_file, "--seeds", "1,2", "--out", out, "-t", 5, "--leakage", tmp_path / "mixed", "--json")
    found = json.loads(result.stdout)
    assert [one["seed"] for one in found["runs"]] == [1, 2]
    assert len(found["rows"][0]["scores"]["mean_iou"]["each"]) == 2
    assert found["leakage"]["run"] == found["runs"][0]["run"]
    assert sorted(file.name for file in out.iterdir()) == [*NAMES, "seed-1", "seed-2"]


def test_ground_filters_stand_beside_the_network(call, run, tmp_path):
    baselines = ("--baseline", "lowest", "--baseline", "lifted", "--set", "lifted.offset_m=1000")
    result = call(run, "-t", "2,5,10", *baselines, "--out", tmp_path / "new")
    assert "Ground filters, which need no training" in result.stdout
    assert "network - best" in result.stdout
    found = json.loads((tmp_path / "new" / "evaluation.json").read_text())
    lowest, lifted = found["filters"]
    assert (lowest["name"], lifted["filter"]["settings"]) == ("lowest", {"offset_m": 1000.0})
    scores = {row["threshold"]: row["scores"]["mean_iou"]["mean"] for row in found["rows"] if row["by"] == "all"}
    for row in (*lowest["rows"], *lifted["rows"]):
        assert row["network"] == pytest.approx(scores[row["threshold"]])
        assert row["difference"] == pytest.approx(row["network"] - row["baseline"])
        assert row["low"] <= row["difference"] <= row["high"]
    for row in (row for row in lifted["rows"] if row["evaluated"]):
        share = next(r["gap_fraction"] for r in found["rows"] if r["by"] == "all" and r["threshold"] == row["threshold"])
        assert row["baseline"] == pytest.approx(share / 2), "above a ground of 1,000 m more everything is a gap"
    assert "| threshold | network | lowest | lifted | network - best |" in (tmp_path / "new" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{run}", "--baseline", "lowst"), "no baseline named 'lowst'"),
        (("{run}", "--baseline", "lowest", "--baseline", "lowest"), "named twice"),
        (("{run}", "--baseline", "lowest", "--set", "lowest.offset=1"), "lowest.offset"),
        (("{run}", "--set", "lowest.offset_m=1"), "only the data may be changed"),
        ((), "needs either run folders or --train"),
        (("{run}", "--train", "{run}/run.toml"), "needs either run folders or --train"),
        (("--train", "{run}/run.toml"), "--train needs a folder for the runs"),
        (("{run}", "--leakage", "x", "--split", "validation"), "Use it with --split test"),
        (("{run}", "--split", "tset"), "expected one of: train, validation, test"),
    ],
)
def test_what_makes_no_sense_is_refused(call, run, arguments, said):
    with pytest.raises(ForestgapsError, match=said):
        call(*(argument.format(run=run) for argument in arguments))


def test_nothing_is_overwritten(call, run, tmp_path):
    (tmp_path / "evaluation.md").write_text("mine")
    with pytest.raises(ForestgapsError, match=r"evaluation\.md"):
        call(run, "--out", tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.md"]


def test_the_table_of_contents_imports_nothing_heavy():
    heavy = "{'numpy', 'torch', 'jinja2', 'matplotlib'}"
    line = f"import sys, forestgaps_evaluation as one; one.forestgaps_commands(); print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_threshold_of_0_is_refused_with_the_value_named(call, run):
    result = call(str(run), "-t", "0")
    assert result.exit_code == 2 and "'0' is not above 0 m" in result.stderr
