from __future__ import annotations

import subprocess
import sys

import pytest

from forestgaps_core.testing import example_batch, example_logits
from forestgaps_tracking.pictures import draw_tiles
from forestgaps_tracking.validation_plots import ValidationPlots


@pytest.mark.parametrize(
    ("wanted", "expected"), [({}, (0, 0, 0)), ({"images": 2}, (6, 0, 0)), ({"confusion": True, "curves": True}, (0, 3, 3))]
)
def test_only_what_is_wanted_is_gathered(wanted: dict[str, int], expected: tuple[int, int, int]) -> None:
    plots, batch = ValidationPlots(**wanted, levels=5), example_batch(size=8)
    plots.add(batch, example_logits(batch))
    found = [list(part) for part in (draw_tiles(plots.tiles), plots.matrices.draw(), plots.precision_recall.iterate_curves())]
    assert tuple(map(len, found)) == expected
    assert all(len(rows) == 5 for _, rows in found[2])


def test_pictures_need_torch_and_nothing_else() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('numpy', 'PIL', 'matplotlib')))\n"
        "from forestgaps_core.testing import example_batch, example_logits\n"
        "from forestgaps_tracking.validation_plots import ValidationPlots\n"
        "plots, batch = ValidationPlots(images=1), example_batch(samples=1, size=8)\n"
        "plots.add(batch, example_logits(batch))\n"
        "print(*(picture.dtype for _, picture in plots.draw()))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.uint8 torch.uint8 torch.uint8"
