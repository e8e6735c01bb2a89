"""The model card: everything in it is read from the network folder and from measured scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forestgaps_pretrained.filters import FILTERS
from forestgaps_pretrained.scores import JUDGED, best_filter, judged

CREDIT = (
    "nz_westport: West Coast Regional Council, LINZ (2021), airborne lidar, distributed by OpenTopography, "
    "https://doi.org/10.5069/G9Z31WV0, licence CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/); "
    "gridded to DSM and DTM, brought to 1 m"
)
LOST = 0.02  # in mean IoU; less than that is no difference


def card(
    plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, landscapes: Mapping[str, int], size: int, command: str
) -> str:
    """The README.md of the network.

    Args:
        plan: The network's network.json.
        rows: Of `forestgaps_pretrained.scores.scored`, of all areas.
        landscapes: Simulated landscapes by part.
        size: Their side, pixels.
        command: What trains the network again.
    """
    return "\n".join(
        [
            "# A small network for canopy gaps",
            "",
            "Maps gaps in a forest canopy from a digital surface model (DSM) alone, at any height threshold: for each pixel and",
            "threshold the probability that the canopy is lower. No canopy height model and no ground model are needed.",
            "",
            "```bash",
            "forestgaps predict dsm.tif --out maps -t 2 -t 5 -t 10",
            "```",
            "",
            *facts(plan),
            "",
            "## Data",
            "",
            f"Trained on {landscapes['train']} simulated landscapes of {size} x {size} pixels and on the northern half of one real",
            f"site; the epoch was chosen on {landscapes['validation']} other simulated landscapes. Nothing else was seen.",
            "",
            "- Simulated landscapes: terrain, stands, gaps and lidar noise, made by `forestgaps simulate` with fixed seeds:",
            "  rainforest, conifer, broadleaf and open forest, plantations; gentle to steep.",
            f"- {CREDIT}. Steep closed native rainforest; its southern half, 20 m away, is a test area below.",
            "",
            "## Scores",
            "",
            "On areas not trained on, with the weights as they are stored. Mean of the IoU of gap and the IoU of canopy, since",
            "gap IoU alone flatters high thresholds. Beside it three classical ground filters at fixed settings, and the score of",
            "saying one thing everywhere (trivial). Rows with under 1 % or over 95 % gap are shown and not judged. Each area is",
            "mapped and judged at its own pixel size, as `forestgaps predict` does: nz_westport at 0.5 m.",
            "",
            *score_table(rows),
            "",
            verdict(rows),
            "",
            "## Where it fails",
            "",
            *failures(rows),
            "",
            "## Use",
            "",
            f"- Elevation in meters. It was trained on pixels of {plan['resolution_m']:g} m. Finer ones, down to a tenth of that,",
            "  are mapped as they are, which gives better maps than `--resample`. Coarser ones give worse maps, and beyond four",
            "  times that none. A DSM in feet, or a canopy height model instead of a DSM, will not do.",
            f"- Validated at {levels(plan)} m. Other thresholds between them may be asked; beyond them it guesses.",
            "- Forest only: houses, bridges, power lines and crops are unlike anything it has seen.",
            "- Where a survey with ground returns exists for part of the area, go on from this network with it:",
            "  `forestgaps config init --recipe finetune`.",
            "",
            "## Train it again",
            "",
            "```bash",
            command,
            "```",
            "",
            "## Licence",
            "",
            "Code and weights: Apache-2.0. Data trained on, to be credited where the network is passed on:",
            "",
            f"> {CREDIT}.",
            "",
        ]
    )


def levels(plan: Mapping[str, Any]) -> str:
    return ", ".join(f"{level:g}" for level in plan["config"]["thresholds"]["values"])


def facts(plan: Mapping[str, Any]) -> Iterator[str]:
    weights, components = plan["weights"], plan["components"]
    made_with = "; ".join(f"{kind} `{c['name']}` of {c['distribution']} {c['version']}" for kind, c in components.items())
    versions = ", ".join(f"{name} {version}" for name, version in plan["versions"].items())
    yield "| | |"
    yield "|---|---|"
    yield "| input | DSM, meters above any datum |"
    yield f"| pixel size | {plan['resolution_m']:g} m |"
    yield "| output | probability of gap for each threshold, 0 to 1 |"
    yield f"| network | {made_with} |"
    yield f"| parameters | {weights['parameters']:,} |"
    yield f"| weights | model.safetensors, {weights['stored_as']}, {weights['bytes'] / 1e6:.2f} MB |"
    yield f"| SHA-256 | {weights['sha256']} |"
    if scale := plan.get("calibration"):
        yield f"| calibration | logits times {scale['slope']:.3f} plus {scale['offset']:.3f}, fitted on the validation landscapes |"
    yield f"| made with | {versions} |"


def score_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    methods = ["network", *FILTERS, "trivial"]
    yield f"| area | m | gap fraction | {' | '.join(methods)} | best |"
    yield "|---" * (4 + len(methods)) + "|"
    for row in rows:
        cells = [f"{row[method]:.3f}" for method in methods]
        yield f"| {row['area']} | {row['threshold_m']:g} | {row['gap_fraction']:.3f} | {' | '.join(cells)} | {best(row)} |"


def best(row: Mapping[str, Any]) -> str:
    if not judged(row):
        return "one-sided"
    label, value = best_filter(row)
    return "network" if row["network"] >= value else label


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    counted = [row for row in rows if judged(row)]
    wins = sum(best(row) == "network" for row in counted)
    return f"The network is best at {wins} of {len(counted)} judged pairs of area and threshold, a filter at {len(counted) - wins}."


def failures(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Pairs a filter wins clearly, and pairs where the network is no better than saying one thing everywhere."""
    lost = [row for row in rows if judged(row) and best_filter(row)[1] - row["network"] > LOST]
    useless = [row for row in rows if judged(row) and row["network"] <= row["trivial"]]
    for area in dict.fromkeys(row["area"] for row in lost):
        listed = ", ".join(
            f"{row['threshold_m']:g} m ({row['network']:.2f} against {best_filter(row)[1]:.2f} by {best_filter(row)[0]})"
            for row in lost
            if row["area"] == area
        )
        yield f"- {area}: a filter is clearly better at {listed}."
    for area in dict.fromkeys(row["area"] for row in useless):
        listed = ", ".join(f"{row['threshold_m']:g} m" for row in useless if row["area"] == area)
        yield f"- {area}: no better than saying one thing everywhere at {listed}."
    if not lost and not useless:
        yield f"- At no judged pair above does a filter win by more than {LOST:g}."
    yield f"- Not judged here: thresholds at which under {JUDGED[0]:.0%} or over {JUDGED[1]:.0%} of an area is gap."
    yield "- One real site of 6 ha is no sample of the world's forests: expect less on real sites elsewhere."
