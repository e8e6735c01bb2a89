"""The commands of the page on further layers, on a synthetic site: from the rasters to the scores and the map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from forestgaps_core.errors import ConfigError

from .command_line import CommandLine
from .test_docs import DOCS, blocks

PAGE = DOCS / "how-to" / "use-further-layers.md"
SMALL = """
[thresholds]
values = [2, 5]
[normalization]
name = "group"
groups = 2
[loss]
name = "bce"
[training]
epochs = 1
batch_size = 2
[metrics.gaps]
name = "segmentation"
[environment]
device = "cpu"
"""


def write_site(folder: Path, rows: int = 96, columns: int = 96) -> None:
    random = np.random.default_rng(0)
    chm = np.kron(random.random((rows // 8, columns // 8)) > 0.4, np.ones((8, 8))) * 15 + random.random((rows, columns))
    rgb = np.stack([200 - 8 * chm, 100 + 5 * chm, 90 + 0 * chm])
    place = {"crs": "EPSG:32610", "transform": Affine(1, 0, 500_000, 0, -1, 5_200_000), "height": rows, "width": columns}
    folder.mkdir()
    for name, bands in (("dsm", [400 + chm]), ("chm", [chm]), ("rgb", rgb), ("gray", rgb[:1])):
        kind = "uint8" if name in ("rgb", "gray") else "float32"
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", count=len(bands), dtype=kind, **place) as file:
            file.write(np.stack(bands).astype(kind))


@pytest.fixture(scope="module")
def command_line():
    with CommandLine() as run:
        yield run


def test_the_commands_of_the_page_carry_colors_to_the_map(command_line, tmp_path):
    pytest.importorskip("forestgaps_evaluation")
    from forestgaps_evaluation.counting.network import open_network

    write_site(tmp_path / "ridge")
    (shown,) = [text for title, text in blocks(PAGE, "toml") if title == "run.toml"]
    (tmp_path / "run.toml").write_text(shown.replace('name = "height_unet"', 'name = "height_unet"\nbase = 4\ndepth = 2') + SMALL)
    further = {"prepare": ["--tile", "16", "--buffer", "2"], "train": ["--set", "data.samples_per_epoch=4"]}
    lines = [line.split()[1:] for _, text in blocks(PAGE, "bash") for line in text.splitlines()]
    assert [words[0] for words in lines] == ["prepare", "train", "evaluate", "predict"]
    for words in lines:
        done = command_line(*words, *further.get(words[0], []), folder=tmp_path)
        assert done.status == 0, done.err
    assert (tmp_path / "prepared" / "ridge" / "rgb.3.npy").is_file()
    assert (tmp_path / "maps" / "gaps.tif").is_file()
    assert (tmp_path / "scores" / "evaluation.csv").is_file()

    # A prepared folder is read with the layers of the network.
    trained = open_network(tmp_path / "run", device="cpu", data=tmp_path / "prepared")
    assert set(trained.data.layers) == {"rgb"}
    with pytest.raises(ConfigError, match=r"data.layers: the network needs 'rgb' \(3 channels\), the data have none"):
        open_network(tmp_path / "run", device="cpu", changes=["data.layers=[]"])
    for words, sentence in (
        ([], "the network needs the layer 'rgb' (3 bands); add --layer rgb=FILE"),
        (["--layer", "rgb=ridge/gray.tif"], "gray.tif has 1 band of values, the network was trained with 3"),
        (["--layer", "rgb"], "names no file"),
        (["--layer", "rgb=a.tif", "--layer", "rgb=b.tif"], "given twice"),
        (["--layer", "nir=ridge/gray.tif"], "the network has no such layer"),
    ):
        wrong = command_line("predict", "run", "ridge/dsm.tif", *words, "--out", "other", folder=tmp_path)
        assert (wrong.status, sentence in wrong.err) == (2, True), wrong.err
        assert not list(tmp_path.glob("other*"))
    for words in (["export", "run", "--to", "onnx", "--out", "other"], ["quantize", "run", "--out", "other"]):
        wrong = command_line(*words, folder=tmp_path)
        assert wrong.status == 2
        assert "and exported networks take the DSM alone" in wrong.err
        assert not list(tmp_path.glob("other*"))
    wrong = command_line("config", "check", "run.toml", "--set", "model.name=ground_unet", folder=tmp_path)
    assert wrong.status == 2
    assert "GroundUNet uses no further input layers, and the data have 'rgb'" in wrong.err
