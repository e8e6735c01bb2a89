"""Reads damaged rasters in a process of its own, of bounded memory, so that a crash of GDAL is one answer among others.

A line of JSON comes in, {"how": a name of READERS, "folder": where `damaged.tif` (or `.vrt`) and `good.tif` lie}; one goes out:
{"outcome": "worked", "refused" or "broken", "text": the sentence or the traceback, "rss_mb": the most memory so far}.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from forestgaps_core.errors import ForestgapsError

SECONDS = 30  # of the processor that reading one may take, imports of libraries with it
LIMIT = 6 * 2**30  # bytes of address space, of which torch and the libraries take three


def prepared(folder: Path, **files: Path) -> None:
    from forestgaps_rasters.preparation.site_plan import PrepareOptions
    from forestgaps_rasters.preparation.site_writing import prepare_sites
    from forestgaps_rasters.preparation.sites import Site

    site = Site(name="site", validation="south 0.3", pixel_size_m=1.0, **files)
    prepare_sites([site], folder / "out", PrepareOptions(tile=16, buffer_m=1, skip_checks=True))


def resampled(folder: Path, bad: Path) -> None:
    from forestgaps_rasters.preparation.site_plan import PrepareOptions
    from forestgaps_rasters.preparation.site_writing import prepare_sites
    from forestgaps_rasters.preparation.sites import Site

    site = Site(name="site", validation="south 0.3", dsm=bad, dtm=folder / "good.tif")
    prepare_sites([site], folder / "out", PrepareOptions(tile=16, buffer_m=1, skip_checks=True, resolution_m=2.0, resample=True))


def predicted(folder: Path, bad: Path) -> None:
    from small_network import small

    from forestgaps_rasters.prediction.map_options import MapOptions
    from forestgaps_rasters.prediction.predict_raster import predict_raster

    how = MapOptions(window=64, overlap=0, pixel_size_m=1.0, skip_checks=True)
    predict_raster(small(), bad, folder / "out", (5.0,), how)


def mosaicked(folder: Path, bad: Path) -> None:
    from forestgaps_geo.bands.elevation_checks import scan_band
    from forestgaps_geo.files.gdal import configure_gdal
    from forestgaps_rasters.sources.mosaics import make_source

    (folder / "list.txt").write_text(f"good.tif\n{bad.name}\n")
    with configure_gdal(), make_source([folder / "list.txt"], resample=True).open() as band:
        scan_band(band)


def gaps(folder: Path, bad: Path) -> None:
    from forestgaps_gaps.detection.search import GapCriteria
    from forestgaps_gaps.rasters.opening import ReadingOptions
    from forestgaps_gaps.statistics.survey import Outputs, survey_raster

    wish = Outputs(out=folder / "out.gpkg", statistics=folder / "out")
    survey_raster(bad, ReadingOptions(thresholds=(49.0,), pixel_size_m=1.0, skip_checks=True), GapCriteria(), wish)


def change(folder: Path, bad: Path) -> None:
    from forestgaps_gaps.change.comparison import ChangeOptions, compare_rasters
    from forestgaps_gaps.rasters.opening import ReadingOptions

    how = ChangeOptions(reading=ReadingOptions(thresholds=(49.0,), pixel_size_m=1.0, skip_checks=True))
    compare_rasters(folder / "good.tif", bad, folder / "out", how)


def opened(folder: Path, bad: Path) -> None:
    from forestgaps_geo.files.opening import open_raster

    with ExitStack() as stack:
        stack.enter_context(open_raster(bad))


READERS: Mapping[str, Callable[[Path, Path], Any]] = {
    "prepare a dsm": lambda folder, bad: prepared(folder, dsm=bad, dtm=folder / "good.tif"),
    "prepare a dtm": lambda folder, bad: prepared(folder, dsm=folder / "good.tif", dtm=bad),
    "prepare a chm": lambda folder, bad: prepared(folder, dsm=folder / "good.tif", chm=bad),
    "prepare, resampled": resampled,
    "predict": predicted,
    "mosaic": mosaicked,
    "gaps": gaps,
    "change": change,
    "open": opened,
}
GAPS = ("gaps", "change")


def answered(how: str, folder: Path) -> tuple[str, str]:
    bad = next(path for path in (folder / "damaged.tif", folder / "damaged.vrt") if path.exists())
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # ends the process: GDAL cannot be interrupted otherwise
    try:
        READERS[how](folder, bad)
    except ForestgapsError as error:
        return "refused", str(error)
    except BaseException:
        return "broken", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        shutil.rmtree(folder / "out", ignore_errors=True)
        (folder / "out.gpkg").unlink(missing_ok=True)
    return "worked", ""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("error")
    for line in sys.stdin:
        case = json.loads(line)
        outcome, text = answered(case["how"], Path(case["folder"]))
        print(json.dumps({"outcome": outcome, "text": text, "rss_mb": peak_mb()}), file=answers, flush=True)


def peak_mb() -> int:
    """Of this program, where the system says so; `ru_maxrss` begins with the peak of the process that started it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    told = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return (told[0] if told else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024


if __name__ == "__main__":
    main()
