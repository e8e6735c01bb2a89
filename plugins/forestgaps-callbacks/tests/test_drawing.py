from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from forestgaps_callbacks import drawing
from forestgaps_callbacks.drawing import CANOPY, FALSE_GAP, GAP, MISSED, require_matplotlib, write_figure
from forestgaps_core import PluginError


def test_a_missing_matplotlib_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(PluginError, match=r"callbacks\.pics draws with matplotlib.*forestgaps-callbacks\[pictures\]"):
        require_matplotlib("pics")


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    for name in ("a", "b"):
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([1, 2])
        write_figure(figure, tmp_path / "made" / f"{name}.png")
    assert (tmp_path / "made" / "a.png").read_bytes() == (tmp_path / "made" / "b.png").read_bytes()


def test_the_colours_can_be_told_apart_by_lightness_alone() -> None:
    """CIE L* of any two differs by 10 or more, so they differ for every kind of colour vision."""
    lightness = []
    for colour in (CANOPY, GAP, MISSED, FALSE_GAP):
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        lightness.append(116 * y ** (1 / 3) - 16)
    ordered = sorted(lightness)
    assert min(b - a for a, b in pairwise(ordered)) > 10
