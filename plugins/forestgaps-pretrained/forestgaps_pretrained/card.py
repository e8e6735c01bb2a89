"""The model card. All its values come from the model folder and from measured scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forestgaps_pretrained.scores import EVALUATED_FRACTIONS, FILTERS, find_best_filter, is_evaluated

CREDIT = (
    "nz_westport: West Coast Regional Council, LINZ (2021), airborne lidar, distributed by OpenTopography, "
    "https://doi.org/10.5069/G9Z31WV0, license CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/); "
    "gridded to DSM and DTM, resampled to 1 m"
)
CLEAR_DIFFERENCE = 0.02  # of mean IoU; smaller differences are not counted


def make_model_card(
    plan: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, landscapes: Mapping[str, int], size: int, command: str
) -> str:
    """The README.md of the network.

    Args:
        plan: The contents of network.json.
        rows: Of `forestgaps_pretrained.scores.score_area`, of all areas.
        landscapes: Number of simulated landscapes by part.
        size: Their side, pixels.
        command: The command that trains the network again.
    """
    return "\n".join(
        [
            "# A small network for canopy gaps",
            "",
            "This network maps gaps in a forest canopy from a digital surface model (DSM) alone, at any height threshold. For",
            "each pixel and threshold it returns the probability that the canopy is lower. It needs no canopy height model and",
            "no ground model.",
            "",
            "```bash",
            "forestgaps predict dsm.tif --out maps -t 2 -t 5 -t 10",
            "```",
            "",
            *list_facts(plan),
            "",
            "## Data",
            "",
            f"The network was trained on {landscapes['train']} simulated landscapes of {size} x {size} pixels and on the northern",
            f"half of one real site. {landscapes['validation']} other simulated landscapes were used to choose the epoch.",
            "",
            "- Simulated landscapes: terrain, stands, gaps and lidar noise from `forestgaps simulate` with fixed seeds.",
            "  Rainforest, conifer, broadleaf and open forest, and plantations, on gentle to steep terrain.",
            f"- {CREDIT}. Steep, closed, native rainforest. Its southern half, 20 m away, is a test area below.",
            "",
            "## Scores",
            "",
            "The areas were not used for training. The weights are those of this folder. The score is the mean of the IoU of gap",
            "and the IoU of canopy, because gap IoU alone is high wherever most of the area is gap. The table also shows three",
            "classical ground filters with fixed settings, and the score of the better constant map (baseline): all gap or all",
            "canopy. Rows with less than 1 % or more than 95 % gap are marked `extreme` and not evaluated. Each area is mapped",
            "and evaluated at its own pixel size, as in `forestgaps predict`; nz_westport has pixels of 0.5 m.",
            "",
            *make_score_table(rows),
            "",
            count_wins(rows),
            "",
            "## Limits",
            "",
            *list_failures(rows),
            "",
            "## Use",
            "",
            f"- The elevation must be in meters. The network was trained on pixels of {plan['resolution_m']:g} m. Pixels down to a",
            "  tenth of that are mapped at their own size, which gives better maps than `--resample`. Coarser pixels give worse",
            "  maps, and pixels of more than four times that size are rejected. Do not use a DSM in feet or a canopy height model.",
            f"- The network was validated at {format_levels(plan)} m. Thresholds between these values are possible. Maps at other",
            "  thresholds are unreliable.",
            "- Use it for forest only. Houses, bridges, power lines and crops were not in the training data.",
            "- If part of your area has a survey with ground returns, fine-tune the network on it:",
            "  `forestgaps config init --recipe finetune`.",
            "",
            "## Train it again",
            "",
            "```bash",
            command,
            "```",
            "",
            "## License",
            "",
            "Code and weights: Apache-2.0. Credit the training data when you distribute the network:",
            "",
            f"> {CREDIT}.",
            "",
        ]
    )


def format_levels(plan: Mapping[str, Any]) -> str:
    return ", ".join(f"{level:g}" for level in plan["config"]["thresholds"]["values"])


def list_facts(plan: Mapping[str, Any]) -> Iterator[str]:
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


def make_score_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    methods = ["network", *FILTERS, "baseline"]
    yield f"| area | m | gap fraction | {' | '.join(methods)} | best |"
    yield "|---" * (4 + len(methods)) + "|"
    for row in rows:
        cells = [f"{row[method]:.3f}" for method in methods]
        yield f"| {row['area']} | {row['threshold_m']:g} | {row['gap_fraction']:.3f} | {' | '.join(cells)} | {name_best(row)} |"


def name_best(row: Mapping[str, Any]) -> str:
    if not is_evaluated(row):
        return "extreme"
    label, value = find_best_filter(row)
    return "network" if row["network"] >= value else label


def count_wins(rows: Sequence[Mapping[str, Any]]) -> str:
    evaluated = [row for row in rows if is_evaluated(row)]
    wins = sum(name_best(row) == "network" for row in evaluated)
    return (
        f"Of {len(evaluated)} evaluated pairs of area and threshold, the network is best at {wins}, "
        f"and a filter at {len(evaluated) - wins}."
    )


def list_failures(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the pairs where a filter is clearly better, and those where the network is not better than a constant map."""
    lost = [row for row in rows if is_evaluated(row) and find_best_filter(row)[1] - row["network"] > CLEAR_DIFFERENCE]
    useless = [row for row in rows if is_evaluated(row) and row["network"] <= row["baseline"]]
    for area in dict.fromkeys(row["area"] for row in lost):
        pairs = ", ".join(
            f"{row['threshold_m']:g} m ({row['network']:.2f} against {find_best_filter(row)[1]:.2f} by {find_best_filter(row)[0]})"
            for row in lost
            if row["area"] == area
        )
        yield f"- {area}: a filter is clearly better at {pairs}."
    for area in dict.fromkeys(row["area"] for row in useless):
        thresholds = ", ".join(f"{row['threshold_m']:g} m" for row in useless if row["area"] == area)
        yield f"- {area}: the network is not better than a constant map at {thresholds}."
    if not lost and not useless:
        yield f"- At no evaluated pair is a filter better by more than {CLEAR_DIFFERENCE:g}."
    low, high = EVALUATED_FRACTIONS
    yield f"- Thresholds at which less than {low:.0%} or more than {high:.0%} of an area is gap are not evaluated."
    yield "- One real site of 6 ha does not represent all forests: expect lower scores on other sites."
