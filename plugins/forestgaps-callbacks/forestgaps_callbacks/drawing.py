"""What the pictures share: matplotlib when it is needed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from forestgaps_core import PluginError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_matplotlib(label: str) -> None:
    """Before the run, not after its first epoch.

    Raises:
        PluginError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise PluginError(
            f"callbacks.{label} draws with matplotlib, which is missing: pip install 'forestgaps-callbacks[pictures]'"
        )


def write_figure(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the date and version that matplotlib would write, the same picture is the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
