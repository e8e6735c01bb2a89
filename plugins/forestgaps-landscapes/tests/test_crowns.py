from __future__ import annotations

import pytest
import torch

from forestgaps_landscapes.simulation.crowns import Trees, compute_crown_height, compute_crown_width, render_canopy


def test_crown_widths_are_those_published():
    # By hand from Popescu & Wynne 2004: 3.09632 + 0.00895 * 20^2, and 3.75105 - 0.17919 * 20 + 0.01241 * 20^2.
    width = compute_crown_width(torch.tensor([20.0, 20.0]), torch.tensor([False, True]))
    assert width.tolist() == pytest.approx([6.67632, 5.13125], abs=1e-4)


def test_taller_trees_have_wider_crowns_and_no_tree_is_a_disk():
    height = torch.linspace(0.5, 60, 200)
    for conifer in (False, True):
        width = compute_crown_width(height, torch.tensor(conifer))
        assert (width[height > 8].diff() > 0).all()
        assert (width <= 0.65 * height + 1e-5).all()


@pytest.mark.parametrize(("a", "b", "middle"), [(1.0, 1.0, 15.0), (2.0, 1.0, 17.5), (2.0, 0.5, 10 + 10 * 0.75**0.5)])
def test_cone_paraboloid_and_ellipsoid_are_members_of_the_family(a, b, middle):
    r = torch.tensor([0.0, 0.5, 1.0])
    heights = compute_crown_height(r, torch.tensor(20.0), torch.tensor(10.0), torch.tensor(a), torch.tensor(b))
    assert heights[:2].tolist() == pytest.approx([20.0, middle], abs=1e-4)
    assert heights[2] == -torch.inf


def test_a_single_tree_is_as_tall_and_as_wide_as_it_should_be():
    one = Trees(*(torch.tensor([value]) for value in (32.25, 32.25, 25.0, 5.0)), torch.tensor([False]))
    plane = render_canopy(torch.Generator().manual_seed(0), 128, 0.5, one)
    assert plane.max().item() == pytest.approx(25.0, abs=0.2)
    assert (plane > 0).sum().item() * 0.25 == pytest.approx(torch.pi * 25, rel=0.05)
