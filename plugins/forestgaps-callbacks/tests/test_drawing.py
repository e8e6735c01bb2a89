from __future__ import annotations

from pathlib import Path

import pytest

from forestgaps_callbacks import drawing
from forestgaps_callbacks.drawing import require_matplotlib, write_figure
from forestgaps_core import PluginError


def test_a_missing_matplotlib_is_reported_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
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
