from __future__ import annotations

from typing import Any

from forestgaps_pretrained.card import count_wins, list_failures, make_model_card

PLAN: dict[str, Any] = {
    "resolution_m": 1.0,
    "config": {"thresholds": {"values": [2, 5.0, 10]}},
    "components": {"model": {"name": "net", "distribution": "some-models", "version": "1.2"}},
    "versions": {"forestgaps-core": "0.1.0"},
    "weights": {"parameters": 1_234_567, "stored_as": "float16", "bytes": 2_500_000, "sha256": "abc" * 20},
    "calibration": {"slope": 1.5, "offset": -0.25},
}


def row(area: str, threshold: float, share: float, network: float, opening: float, envelope: float = 0.1) -> dict[str, Any]:
    found = {"network": network, "opening": opening, "progressive": 0.2, "envelope": envelope}
    return {"area": area, "threshold_m": threshold, "gap_fraction": share, **found, "baseline": max(share, 1 - share) / 2}


ROWS = [
    row("ridge", 2, 0.1, 0.8, 0.7),
    row("ridge", 5, 0.3, 0.6, 0.9),
    row("plain", 2, 0.5, 0.2, 0.21),
    row("plain", 5, 0.999, 0.5, 1),
]


def test_card_contains_facts_credit_and_command() -> None:
    text = make_model_card(PLAN, ROWS, landscapes={"train": 16, "validation": 4, "test": 4}, size=512, command="python -m it --all")
    for said in (
        "1,234,567", "2.50 MB", "pixels of 1 m", "2, 5, 10 m", "times 1.500 plus -0.250", "`net` of some-models 1.2", "CC BY 4.0",
        "West Coast Regional Council", "10.5069/G9Z31WV0", "python -m it --all", "16 simulated landscapes", "512 x 512",
        "Apache-2.0", "## Scores", "## Limits", "## Train it again",
    ):  # fmt: skip
        assert said in text, said
    assert "| ridge | 2 | 0.100 | 0.800 | 0.700 | 0.200 | 0.100 | 0.450 | network |" in text
    assert "| ridge | 5 | 0.300 | 0.600 | 0.900 | 0.200 | 0.100 | 0.350 | opening |" in text
    assert "| plain | 5 | 0.999 | 0.500 | 1.000 | 0.200 | 0.100 | 0.499 | extreme |" in text


def test_count_wins_ignores_extreme_prevalence() -> None:
    assert count_wins(ROWS) == "Of 3 evaluated pairs of area and threshold, the network is best at 1, and a filter at 2."


def test_list_failures_names_clear_losses_only() -> None:
    text = "\n".join(list_failures(ROWS))
    assert "ridge: a filter is clearly better at 5 m (0.60 against 0.90 by opening)" in text
    assert "plain: a filter" not in text
    assert "plain: the network is not better than a constant map at 2 m." in text
    assert "At no evaluated pair" in "\n".join(list_failures(ROWS[:1]))
