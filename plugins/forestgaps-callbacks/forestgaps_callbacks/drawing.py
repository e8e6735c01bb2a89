"""Import matplotlib when it is needed, and write figures."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from forestgaps_core import PluginError
from forestgaps_core.files.atomic import new_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_matplotlib(label: str) -> None:
    """Require matplotlib before the run starts.

    Raises:
        PluginError: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise PluginError(
            f"callbacks.{label} draws with matplotlib, which is missing: pip install 'forestgaps-callbacks[pictures]'"
        )


def write_figure(figure: Figure, path: Path) -> None:
    """Write a PNG file, completely or not at all.

    Raises:
        DiskError: It could not be written.
    """
    drawn = io.BytesIO()
    # Without the date and version that matplotlib would write, the same picture is the same file.
    figure.savefig(drawn, format="png", dpi=110, metadata={"Software": None})
    with new_file(path, needed=drawn.tell()) as file:
        file.write(drawn.getbuffer())
