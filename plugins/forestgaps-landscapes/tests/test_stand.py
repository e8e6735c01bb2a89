from __future__ import annotations

import torch

from forestgaps_landscapes.simulation.crowns import Trees
from forestgaps_landscapes.simulation.stand import SHADE_RATIO, Stand, grow_subcanopy, plant_trees, remove_shaded_trees


def standing(stand: Stand, seed: int = 0, size: int = 200) -> Trees:
    return plant_trees(torch.Generator().manual_seed(seed), size, 1.0, stand)


def test_no_tree_stands_in_the_shade_of_a_taller_one():
    some = standing(Stand(), size=80)
    distance = torch.hypot(some.x[:, None] - some.x, some.y[:, None] - some.y)
    # Shade is drawn in whole pixels: half a diagonal at either end.
    shaded = (distance < SHADE_RATIO * some.radius - 1.5) & (some.height > some.height[:, None])
    assert not shaded.any()


def test_of_two_trees_too_near_the_taller_stays():
    pair = Trees(
        torch.tensor([10.0, 11.0]),
        torch.tensor([10.0, 10.0]),
        torch.tensor([20.0, 12.0]),
        torch.full((2,), 4.0),
        torch.zeros(2) > 0,
    )
    assert remove_shaded_trees(32, 1.0, pair).height.tolist() == [20.0]


def test_trees_are_more_regular_than_chance_at_a_crown_and_less_at_a_group():
    some = standing(Stand(stocked=0.2, group_m=40, layers=0.0, height_spread=0.0), size=300)
    inside = (some.x > 0) & (some.x < 300) & (some.y > 0) & (some.y < 300)
    x, y = some.x[inside], some.y[inside]
    distance = torch.hypot(x[:, None] - x, y[:, None] - y)
    chance = len(x) / 300**2 * torch.pi

    def pairs(radius: float) -> float:
        """Ripley's K over that of chance, without edge correction."""
        return ((distance < radius).sum() - len(x)).item() / len(x) / (chance * radius**2)

    assert pairs(1.5) < 0.5
    assert pairs(12.0) > 1.2


def test_taller_stands_have_fewer_and_taller_trees():
    low, tall = standing(Stand(height_m=10)), standing(Stand(height_m=30))
    assert len(low) > 2 * len(tall)
    assert tall.height.mean() > 2.5 * low.height.mean()


def test_stocking_sets_how_much_of_the_ground_has_trees():
    counts = [len(standing(Stand(stocked=s, layers=0.0))) for s in (0.2, 0.5, 1.0)]
    assert counts[0] < 0.35 * counts[2] < counts[1] < 0.7 * counts[2]


def test_conifers_are_as_many_as_requested():
    for share in (0.0, 0.3, 1.0):
        found = standing(Stand(conifers=share), size=400).conifer.float().mean().item()
        assert abs(found - share) < 0.15


def test_the_layer_between_crowns_grows_only_where_crowns_are():
    crowns = torch.zeros(64, 64)
    crowns[:, 32:] = 20.0
    layer = grow_subcanopy(torch.Generator().manual_seed(0), crowns, 1.0, Stand())
    assert (layer[:, :20] == 0).all()
    assert (layer[:, 44:] > 0).all()
