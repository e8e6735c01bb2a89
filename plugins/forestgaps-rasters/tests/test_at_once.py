"""Several processes at the same work, or at works beside each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_network import small

from forestgaps_core.errors import BusyError, DataError
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site

HOW = MapOptions(window=128, overlap=64)
MAP = """
import sys
from pathlib import Path
from small_network import small
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.prediction.map_options import MapOptions

def report(what, done, total):
    if what == "mapping" and done and not told:
        told.append(what)
        print("at it", flush=True)
        sys.stdin.read()

told = []
predict_raster(small(), Path(sys.argv[1]), Path(sys.argv[2]), options=MapOptions(window=128, overlap=64), report=report)
"""


def mapping(dsm: Path, out: Path) -> subprocess.Popen[str]:
    """A process that maps, and waits in the middle of it until its input ends."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", MAP, str(dsm), str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout
    assert process.stdout.readline() == "at it\n"
    return process


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def dsm(raster) -> Path:
    return raster("dsm.tif", np.random.default_rng(0).normal(404, 8, (200, 220)).astype(np.float32))


def test_of_two_maps_into_one_folder_the_second_refuses_and_the_first_is_right(dsm, tmp_path) -> None:
    first = mapping(dsm, tmp_path / "map")
    with pytest.raises(BusyError, match=rf"map\.partial is in use by process {first.pid} on .* since 20\d\d-"):
        predict_raster(small(), dsm, tmp_path / "map", options=HOW)
    predict_raster(small(), dsm, tmp_path / "other", options=HOW)  # at the same time, of the same raster, elsewhere
    first.communicate()
    assert first.returncode == 0
    assert content(tmp_path / "map") == content(tmp_path / "other")
    with pytest.raises(DataError, match="exists already"):
        predict_raster(small(), dsm, tmp_path / "map", options=HOW)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dsm.tif", "map", "other"]


def test_after_a_kill_the_lock_is_stale_and_the_map_is_the_same(dsm, tmp_path) -> None:
    killed = mapping(dsm, tmp_path / "map")
    killed.kill()
    killed.communicate()
    assert (tmp_path / "map.partial" / "lock").read_text(), "the killed process left its lock"
    done = predict_raster(small(), dsm, tmp_path / "map", options=HOW)
    assert done.resumed > 0
    predict_raster(small(), dsm, tmp_path / "other", options=HOW)
    assert content(tmp_path / "map") == content(tmp_path / "other")


def test_of_two_preparations_of_one_folder_the_second_refuses(site, tmp_path) -> None:
    sites = [Site(name="ridge", folder=site("ridge"), validation="south 0.3")]
    wish = PrepareOptions(tile=32, buffer_m=5)
    code = (
        "import sys\nfrom pathlib import Path\nfrom forestgaps_rasters.preparation.site_plan import PrepareOptions\n"
        "from forestgaps_rasters.preparation.site_writing import prepare_sites\nfrom forestgaps_rasters.preparation.sites import "
        "Site\ndef report(what, done, total):\n    if what.startswith('writing') and done:\n"
        "        print('at it', flush=True)\n        sys.stdin.read()\n"
        "site = Site(name='ridge', folder=Path(sys.argv[1]), validation='south 0.3')\n"
        "prepare_sites([site], Path(sys.argv[2]), PrepareOptions(tile=32, buffer_m=5), report)\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "ridge"), str(tmp_path / "out")]
    first = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout
    assert first.stdout.readline() == "at it\n"
    with pytest.raises(BusyError, match=rf"out\.partial is in use by process {first.pid} on .* since 20\d\d-"):
        prepare_sites(sites, tmp_path / "out", wish)
    first.communicate()
    assert first.returncode == 0
    prepare_sites(sites, tmp_path / "other", wish)
    for name in ("ridge/dsm.npy", "ridge/height.npy", "index.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_a_site_whose_layers_were_damaged_meanwhile_is_written_again(site, tmp_path) -> None:
    sites = [Site(name=name, folder=site(name, seed=n), validation="south 0.3") for n, name in enumerate(("ridge", "valley"))]
    wish = PrepareOptions(tile=32, buffer_m=5, skip_checks=True)

    def interrupted(what: str, done: int, total: int) -> None:
        if what == "writing valley":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_sites(sites, tmp_path / "out", wish, interrupted)
    layer = tmp_path / "out.partial" / "blocks" / "ridge" / "dsm.npy"
    content = bytearray(layer.read_bytes())
    content[1000] ^= 1
    layer.write_bytes(content)
    prepare_sites(sites, tmp_path / "out", wish)
    prepare_sites(sites, tmp_path / "other", wish)
    for name in ("ridge/dsm.npy", "valley/dsm.npy", "index.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
