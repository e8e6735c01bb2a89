"""What each step of the recipe `best` is worth on forest that was never seen: leave sites out, one after the other.

    python benchmarks/leave_one_out.py --prepared FOLDER --out FOLDER [--epochs 3] [--variants 'ground;best']

FOLDER of --prepared is what `real_sites.py` prepares. Each variant is trained once for each group of sites, without them, and
scored on all of them at once, whole, by `forestgaps test`. Groups hold forests that differ. Scores are mean IoU (of gap and canopy)
at each threshold whose gap fraction is between 1 % and 95 %, averaged over thresholds and then over sites, and the same less
that of the best of three classical filters, site by site and threshold by threshold. Ends of runs are kept in --out, so that an
interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from real_sites import RESOLUTION_M, THRESHOLDS, scores

from forestgaps_core import load_predictor
from forestgaps_pretrained.scores import load_filters

GROUPS = (
    ("nz_westport", "fr_lidarhd_west", "us_foxisland"),
    ("br_ducke_dsm", "us_tahoe", "bc_bcts"),
    ("us_hawaii_dryforest", "fr_lidarhd_alsace", "br_eucalypt_native"),
)
SIMULATED = tuple(f"simulated_{forest}" for forest in ("rainforest", "broadleaf", "conifer", "open", "plantation"))
PLAIN = (
    *("augmentations.tilt.slope=0.1", "augmentations.hills.relief_m=0"),
    *("augmentations.canopy.factor=1", "augmentations.other_canopy.swap=0"),
)
# At full size a network costs several times as much for a tile: smaller tiles, so that all variants take about the same time.
FULL_SIZE = ("data.tile_size=128", "training.epochs=4")
FILTERS_SHOWN = 'model.view.channels=["relief","tophats","ground"]'
# Each with what it changes in the recipe `best`, from the simplest to the whole, and with the sites it does without.
VARIANTS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "film": ((*PLAIN, *FULL_SIZE, 'model.name="unet"'), SIMULATED),
    "heights": ((*PLAIN, *FULL_SIZE, 'model.name="height_unet"'), SIMULATED),
    "heights, filters shown": ((*PLAIN, *FULL_SIZE, 'model.name="height_unet"', FILTERS_SHOWN), SIMULATED),
    "ground, one component": ((*PLAIN, "model.components=1"), SIMULATED),
    "ground": (PLAIN, SIMULATED),
    "ground, terrain and canopy mixed": ((), SIMULATED),
    "best": ((), ()),
}


def forestgaps(*arguments: object) -> None:
    print("$ forestgaps", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "forestgaps_core", *map(str, arguments)], check=True)


def trained(out: Path, prepared: Path, variant: str, group: Sequence[str], epochs: int, seed: int) -> Path:
    run = out / f"{variant} without {group[0]} {seed}"
    if not (run / "checkpoints" / "best.safetensors").is_file() or not (run / "done").is_file():
        changes, left_out = VARIANTS[variant]
        recipe = out / "run.toml"
        if not recipe.is_file():
            forestgaps("config", "init", recipe, "--recipe", "best")
        without = json.dumps([*group, *left_out])
        settings = [f"data.folder={json.dumps(str(prepared.resolve()))}", f"data.leave_out={without}", f"training.epochs={epochs}"]
        settings += [f"environment.seed={seed}", "callbacks.average.decay=0.98", *changes]
        resume = ("--resume", run) if run.exists() else (recipe, "--out", run, *(w for s in settings for w in ("--set", s)))
        forestgaps("train", *resume)
        (run / "done").touch()
    return run


def site_scores(run: Path, prepared: Path, site: str) -> list[dict[str, float]]:
    """Of the network and of the best filter at each threshold that is not one-sided; the site is mapped in one piece."""
    dsm, height = (np.load(prepared / site / f"{layer}.npy").astype(float) for layer in ("dsm", "height"))
    valid = np.isfinite(dsm) & np.isfinite(height)
    dsm = np.where(valid, dsm, np.nan)
    network = load_predictor(run)
    surface = torch.from_numpy(np.nan_to_num(dsm, nan=0.0).astype(np.float32))[None, None]
    probability = network(surface, torch.from_numpy(valid)[None, None], THRESHOLDS)[0].numpy()
    above = [dsm - ground(dsm, RESOLUTION_M) for ground in load_filters().values()]
    rows = []
    for channel, threshold in enumerate(THRESHOLDS):
        reference = height < threshold
        if 0.01 <= reference[valid].mean() <= 0.95:
            best = max(mean_iou(heights < threshold, reference, valid) for heights in above)
            found = mean_iou(probability[channel] > 0.5, reference, valid)
            rows.append({"threshold": threshold, "network": found, "filter": best})
    return rows


def mean_iou(gap: NDArray[np.bool_], reference: NDArray[np.bool_], valid: NDArray[np.bool_]) -> float:
    found = scores(gap, reference, valid)
    return (found["gap_iou"] + found["canopy_iou"]) / 2


def table(results: Mapping[str, Mapping[str, list[dict[str, float]]]]) -> str:
    sites = [site for group in GROUPS for site in group]
    lines = [f"| variant | mean IoU | over the best filter | pairs won | {' | '.join(sites)} |", "|---" * (4 + len(sites)) + "|"]
    for variant, by_site in results.items():
        ahead = {site: float(np.mean([row["network"] - row["filter"] for row in rows])) for site, rows in by_site.items()}
        mean = np.mean([np.mean([row["network"] for row in rows]) for rows in by_site.values()])
        won = sum(row["network"] > row["filter"] for rows in by_site.values() for row in rows)
        pairs = sum(len(rows) for rows in by_site.values())
        cells = " | ".join(f"{ahead[site]:+.3f}" for site in sites)
        lines.append(f"| {variant} | {mean:.3f} | {np.mean(list(ahead.values())):+.3f} | {won} of {pairs} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", type=Path, required=True, help="folder made by real_sites.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and results; gone on with if it exists")
    parser.add_argument("--epochs", type=int, default=3, help="of 512 tiles of 256 m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", default=";".join(VARIANTS), help=f"of {'; '.join(VARIANTS)}")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for variant in arguments.variants.split(";"):
        results[variant] = {}
        for group in GROUPS:
            run = trained(out, arguments.prepared, variant, group, arguments.epochs, arguments.seed)
            for site in group:
                results[variant][site] = site_scores(run, arguments.prepared, site)
        (out / f"{variant}.json").write_text(json.dumps(results[variant], indent=1))
        print(table(results), flush=True)


if __name__ == "__main__":
    main()
