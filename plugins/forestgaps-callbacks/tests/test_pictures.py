from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from forestgaps_callbacks.pictures import Pictures, PicturesConfig, draw_prediction_figure
from forestgaps_core import Batch
from forestgaps_core.testing import check_callback
from forestgaps_tracking.colors import CANOPY, FALSE_NEGATIVE, FALSE_POSITIVE, GAP, TRUE_POSITIVE


def test_contract(tmp_path: Path) -> None:
    check_callback(PicturesConfig(tiles=3, every=2), tmp_path)


def test_the_first_tiles_of_each_due_validation_are_drawn(tmp_path: Path, train: Callable[..., Any]) -> None:
    train({"pictures": Pictures(tmp_path / "pictures", tiles=3, every=2)}, epochs=3)
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"epoch-0002-tile-{tile}.png" for tile in (1, 2, 3)]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (tmp_path / "pictures").iterdir())


def test_each_kind_of_pixel_has_its_color() -> None:
    tile = Batch(
        dsm=torch.zeros(1, 1, 2, 3),
        valid=torch.tensor([[[[True, True, True], [True, False, True]]]]),
        target=torch.tensor([[[[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]]]),
        thresholds=torch.tensor([[5.0]]),
    )
    figure = draw_prediction_figure(tile, torch.tensor([[[[9.0, -9.0, 9.0], [-9.0, 9.0, -9.0]]]]))
    (errors,) = figure.axes[5].images
    drawn = errors.to_rgba(errors.get_array(), bytes=True)

    def rgb(color: tuple[float, float, float]) -> list[int]:
        return [round(255 * part) for part in color]

    assert [pixel[:3].tolist() for pixel in drawn[0]] == [rgb(TRUE_POSITIVE), rgb(FALSE_NEGATIVE), rgb(FALSE_POSITIVE)]
    assert drawn[1, 0, :3].tolist() == rgb(CANOPY)
    (reference,) = figure.axes[1].images
    assert reference.to_rgba(reference.get_array(), bytes=True)[0, 0, :3].tolist() == rgb(GAP)
    assert drawn[1, 1, 3] == 0, "without data a pixel is left white"
    assert figure.axes[1].get_title() == "gaps below 5 m"


def test_a_tile_without_any_data_is_drawn_too() -> None:
    nothing = torch.zeros(1, 1, 4, 4)
    tile = Batch(dsm=nothing, valid=nothing.bool(), height=nothing, target=nothing, thresholds=torch.tensor([[2.0]]))
    assert len(draw_prediction_figure(tile, nothing).axes) == 6


def test_nothing_is_kept_of_the_test_split(tmp_path: Path, trainer: Any) -> None:
    pictures = Pictures(tmp_path)
    pictures.evaluation_start(trainer, "test")
    assert pictures.first.wanted == 0
