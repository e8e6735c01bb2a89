from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import forestgaps_core
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_rasters.commands.predict import predict
from forestgaps_rasters.commands.prepare import prepare


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command as `forestgaps` would; mistakes of the user come out as errors. There is a run folder `run`."""

    class Flat:
        thresholds = (2.0, 5.0)
        resolution_m = 1.0

        def __call__(self, dsm, valid, thresholds, kept):
            return torch.full((len(dsm), len(thresholds), *dsm.shape[2:]), 0.8)[..., *kept]

    def load(run, device, **how):
        loaded.append(str(run))
        return Flat()

    loaded: list[str] = []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").touch()
    monkeypatch.setattr(forestgaps_core, "load_predictor", load, raising=False)
    app = typer.Typer()
    app.command()(prepare)
    app.command()(predict)

    def call(*arguments: object):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    call.loaded = loaded
    return call


def test_prepare_names_every_file_it_wrote_and_what_comes_next(run, site, tmp_path) -> None:
    result = run("prepare", site("ridge"), "--out", tmp_path / "out", "--tile", 32, "--buffer", 5)
    assert result.exit_code == 0
    for name in ("index.json", "ridge/dsm.npy", "ridge/height.npy"):
        assert f"wrote {tmp_path / 'out' / name}" in result.stdout
    assert "1 site at 1 m: train 0.308 ha, validation 0.126 ha, test 0.126 ha" in result.stdout
    assert "forestgaps train" in result.stdout


def test_prepare_tells_programs_in_json(run, site, tmp_path) -> None:
    site("ridge", 40, 40, crs=None)
    (tmp_path / "sites.toml").write_text('[sites.ridge]\nfolder = "ridge"\nvalidation = "south 0.3"\npixel_size_m = 1')
    result = run("prepare", tmp_path / "sites.toml", "--out", tmp_path / "out", "--buffer", 5, "--json")
    summary = json.loads(result.stdout)
    assert summary["sites"] == ["ridge"]
    assert summary["pixels"] == {"train": 40 * 23, "validation": 40 * 12, "test": 0}
    assert len(summary["files"]) == 3
    assert "without CRS" in summary["notes"][0]
    assert result.stderr == ""


def test_prepare_takes_pairs_and_a_resolution(run, site, tmp_path) -> None:
    folder = site("ridge", resolution=0.5)
    options = ["--out", tmp_path / "out", "--buffer", 2, "--tile", 16, "--json", "--validation", "south 0.3", "--test", ""]
    pair = ["--dsm", folder / "dsm.tif", "--chm", folder / "chm.tif"]
    with pytest.raises(DataError, match="Add --resample"):
        run("prepare", *pair, "--resolution", 1, *options)
    summary = json.loads(run("prepare", *pair, "--resolution", 1, "--resample", *options).stdout)
    assert summary["resolution_m"] == 1.0
    assert summary["pixels"]["test"] == 0


def test_predict_names_its_files_and_shares(run, raster, tmp_path) -> None:
    dsm = raster("dsm.tif", np.full((40, 50), 400, np.float32))
    result = run("predict", tmp_path / "run", dsm, "--out", tmp_path / "map", "-t", 2, "-t", 7)
    assert result.exit_code == 0
    assert "gaps below 2 m: 100.0% of the surveyed area" in result.stdout
    for name in ("probabilities.tif", "gaps.tif"):
        assert f"wrote {tmp_path / 'map' / name}" in result.stdout
    assert "note: 7 m: outside the thresholds" in result.stderr


def test_predict_tells_programs_in_json(run, raster, tmp_path) -> None:
    dsm = raster("dsm.tif", np.full((40, 50), 400, np.float32))
    summary = json.loads(run("predict", tmp_path / "run", dsm, "-o", tmp_path / "map", "--json").stdout)
    assert summary["gap_fraction"] == {"2": 1.0, "5": 1.0}
    assert (summary["rows"], summary["columns"]) == (40, 50)


def test_without_a_run_the_network_is_named_or_the_pretrained_one(run, raster, tmp_path) -> None:
    dsm = raster("tiles/dsm.tif", np.full((40, 50), 400, np.float32))
    run("predict", dsm, "-o", tmp_path / "one")
    run("predict", dsm.parent, "--network", "mine", "-o", tmp_path / "two")
    run("predict", tmp_path / "run", dsm, "-o", tmp_path / "three", "--workers", 1)
    assert run.loaded == ["pretrained", "mine", str(tmp_path / "run")]


@pytest.mark.parametrize("size", ["0", "-1", "nan", "inf"])
def test_a_pixel_size_that_is_none_is_refused(run, raster, tmp_path, size) -> None:
    dsm = raster("dsm.tif", np.full((40, 50), 400, np.float32))
    for command in (("predict", dsm), ("prepare", "--dsm", dsm, "--dtm", dsm)):
        done = run(*command, "--pixel-size", size, "-o", tmp_path / "out")
        assert done.exit_code == 2
        assert "is not above 0" in done.stderr
    assert not (tmp_path / "out").exists()


def test_predict_interrupted_says_how_to_go_on(run, raster, tmp_path, monkeypatch) -> None:
    class Interrupted:
        def execute(self, function, items):
            for item in items:
                yield item, function(item)
                raise KeyboardInterrupt

    dsm = raster("dsm.tif", np.full((40, 1000), 400, np.float32))
    with monkeypatch.context() as patch:
        patch.setattr("forestgaps_rasters.work.executors.choose_executor", lambda workers, scheduler: Interrupted())
        result = run("predict", dsm, "-o", tmp_path / "map")
    assert result.exit_code == 130
    assert f"kept in {tmp_path / 'map.partial'}, and the same command resumes from there" in result.stderr
    assert "resumed: 1 of 2 blocks were finished before" in run("predict", dsm, "-o", tmp_path / "map").stdout


def test_what_is_not_installed_is_told_before_any_work(run, raster, tmp_path) -> None:
    dsm = raster("dsm.tif", np.full((40, 50), 400, np.float32))
    with pytest.raises(ConfigError, match="no installed package serves"):
        run("predict", dsm, "-o", tmp_path / "map", "--cluster", "nowhere://host")
    with pytest.raises(DataError, match="no such file or folder"):
        run("predict", tmp_path / "runs" / "frist", dsm, "-o", tmp_path / "map")
    assert not (tmp_path / "map").exists()


def test_the_table_of_contents_and_the_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, forestgaps_rasters, forestgaps_rasters.commands.predict, forestgaps_rasters.commands.prepare\n"
        "print([name for name in ('torch', 'numpy', 'rasterio', 'rich.progress') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
