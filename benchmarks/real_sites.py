"""Accuracy on real forest: prepare, train, test and map, beside classical filters, in one command.

    python benchmarks/real_sites.py --data FOLDER --out FOLDER [--recipe best] [--set training.epochs=20]

FOLDER holds one folder a site with dsm.tif, dtm.tif and chm.tif. Every step is the command a user would type. The table has, for
each test area and threshold, the gap fraction of the reference, the IoU of gap, the IoU of canopy and the F1 of gap, for the
network and for each filter at its fixed default setting, and says who wins. Read the mean of gap and canopy IoU: at high
thresholds nearly all is gap, and gap IoU alone flatters whoever says so. Areas with under 1 % or over 95 % gap are shown
and not evaluated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray

from forestgaps_pretrained.scores import load_filters

THRESHOLDS = (2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0)
RESOLUTION_M = 1.0
FORESTS = ("rainforest", "broadleaf", "conifer", "open", "plantation")
LANDSCAPE_PX = 768
SITES: Mapping[str, Mapping[str, str | float]] = {
    "us_hawaii_dryforest": {"validation": "south-east 0.25"},
    "bc_bcts": {"validation": "south 0.333"},
    "br_ducke_dsm": {"part": "train", "pixel_size_m": 1.0},
    "nz_westport": {"test": "south 0.5"},
    "us_foxisland": {"part": "train"},
    "fr_lidarhd_west": {"part": "train"},
    "us_tahoe": {"part": "test"},
    "fr_lidarhd_alsace": {"part": "test"},
    "br_eucalypt_native": {"part": "test"},
}


def forestgaps(*arguments: object) -> None:
    print("$ forestgaps", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "forestgaps_core", *map(str, arguments)], check=True)


def site_list(data: Path, out: Path) -> Path:
    """The sites, and a simulated landscape for each kind of forest, a fifth of it to choose by."""
    lines = []
    for seed, forest in enumerate(FORESTS):
        folder = out / "simulated" / forest
        forestgaps("simulate", folder, "--seed", seed, "--forest", forest, "--size", LANDSCAPE_PX)
        lines += [f"[sites.simulated_{forest}]", f"folder = {json.dumps(str(folder.resolve()))}", 'validation = "south 0.2"']
    for name, settings in SITES.items():
        lines += [f"[sites.{name}]", f"folder = {json.dumps(str((data / name).resolve()))}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    path = out / "sites.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_areas(prepared: Path) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Name, DSM and height of every test block of a prepared folder, NaN where there is no data."""
    for site in json.loads((prepared / "index.json").read_text())["sites"]:
        dsm, height = (np.load(prepared / site["name"] / f"{layer}.npy", mmap_mode="r") for layer in ("dsm", "height"))
        for number, block in enumerate(site["blocks"].get("test", [])):
            area = np.s_[block["row"] : block["row"] + block["rows"], block["column"] : block["column"] + block["columns"]]
            name = site["name"] if len(site["blocks"]["test"]) == 1 else f"{site['name']} {number + 1}"
            yield name, np.asarray(dsm[area], float), np.asarray(height[area], float)


def mapped(run: Path, name: str, dsm: NDArray[np.float64], out: Path) -> NDArray[np.float64]:
    """Probability of gap (K, H, W) by the network, through files and `forestgaps predict`."""
    path = out / f"{name}.tif"
    profile = {"driver": "GTiff", "height": dsm.shape[0], "width": dsm.shape[1], "count": 1, "dtype": "float32", "nodata": -9999.0}
    grid = {"crs": "EPSG:32601", "transform": rasterio.Affine(RESOLUTION_M, 0, 500_000, 0, -RESOLUTION_M, 5_000_000)}
    with rasterio.open(path, "w", **profile, **grid) as raster:
        raster.write(np.nan_to_num(dsm, nan=-9999.0).astype("float32"), 1)
    maps = out / f"{name} maps"
    forestgaps("predict", run, path, "--out", maps, *(part for t in THRESHOLDS for part in ("-t", t)))
    with rasterio.open(maps / "probabilities.tif") as raster:
        bands = raster.read().astype(float)
        return np.where(bands == raster.nodata, np.nan, bands * raster.scales[0])


def scores(gap: NDArray[np.bool_], reference: NDArray[np.bool_], valid: NDArray[np.bool_]) -> dict[str, float]:
    gap, reference = gap[valid], reference[valid]
    both, either, neither = (gap & reference).sum(), (gap | reference).sum(), (~gap & ~reference).sum()
    with np.errstate(invalid="ignore"):
        return {
            "gap_fraction": float(reference.mean()),
            "gap_iou": float(both / either),
            "canopy_iou": float(neither / (valid.sum() - both)),
            "gap_f1": float(2 * both / (gap.sum() + reference.sum())),
        }


def compared(run: Path, prepared: Path, out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for name, dsm, height in test_areas(prepared):
        valid = np.isfinite(dsm) & np.isfinite(height)
        dsm = np.where(valid, dsm, np.nan)
        probability = mapped(run, name, dsm, out)
        above = {label: dsm - ground(dsm, RESOLUTION_M) for label, ground in load_filters().items()}
        for channel, threshold in enumerate(THRESHOLDS):
            reference = height < threshold
            maps = {"network": probability[channel] > 0.5, **{label: heights < threshold for label, heights in above.items()}}
            for method, gap in maps.items():
                rows.append({"site": name, "threshold": threshold, "method": method, **scores(gap, reference, valid)})
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Markdown: a row for each area and threshold, mean IoU of each method, the best in bold; gap IoU of the network beside it."""
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    lines = [f"| site | m | gap fraction | baseline | {' | '.join(methods)} | gap IoU |", "|---" * (5 + len(methods)) + "|"]
    wins = evaluated = 0
    for site, threshold in dict.fromkeys((row["site"], row["threshold"]) for row in rows):
        found = {row["method"]: row for row in rows if (row["site"], row["threshold"]) == (site, threshold)}
        gap_fraction, gap_iou = (float(str(found["network"][score])) for score in ("gap_fraction", "gap_iou"))
        mean = {m: (float(str(found[m]["gap_iou"])) + float(str(found[m]["canopy_iou"]))) / 2 for m in methods}
        extreme, best = not 0.01 <= gap_fraction <= 0.95, max(mean, key=lambda m: mean[m])
        cells = [f"**{mean[m]:.3f}**" if m == best and not extreme else f"{mean[m]:.3f}" for m in methods]
        name = f"{site}, not evaluated" if extreme else site
        baseline = max(gap_fraction, 1 - gap_fraction) / 2
        lines.append(f"| {name} | {threshold:g} | {gap_fraction:.3f} | {baseline:.3f} | {' | '.join(cells)} | {gap_iou:.2f} |")
        evaluated, wins = evaluated + (not extreme), wins + (best == "network" and not extreme)
    summary = f"The network is best at {wins} of {evaluated} evaluated pairs of site and threshold, a filter at {evaluated - wins}."
    return "\n".join([*lines, "", summary])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of sites")
    parser.add_argument("--out", type=Path, required=True, help="folder to make for everything")
    parser.add_argument("--recipe", default="best", help="best or rasters")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change a setting of the recipe")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True)
    sites = site_list(arguments.data, out)
    forestgaps("prepare", sites, "--out", out / "prepared", "--resolution", RESOLUTION_M, "--resample")
    start = time.monotonic()
    forestgaps("config", "init", out / "run.toml", "--recipe", arguments.recipe)
    changes = [word for change in arguments.set for word in ("--set", change)]
    forestgaps("train", out / "run.toml", "--out", out / "run", *changes)
    minutes = (time.monotonic() - start) / 60
    forestgaps("test", out / "run")
    rows = compared(out / "run", out / "prepared", out)
    text = f"Trained for {minutes:.1f} minutes.\n\n{table(rows)}\n"
    (out / "table.md").write_text(text)
    (out / "table.json").write_text(json.dumps({"minutes": minutes, "rows": rows}, indent=2))
    print(text, f"\nWritten: {out / 'table.md'}, {out / 'table.json'}")


if __name__ == "__main__":
    main()
