from __future__ import annotations

import math

import torch

from forestgaps_augmentations.hills import ROUGHNESS, WAVELENGTHS_M, WAVES, random_relief
from forestgaps_core.runtime.rng import random_numbers, uniform


def test_hills_are_smooth_of_mean_nothing_and_of_the_size_requested() -> None:
    made = random_relief(random_numbers(0, 0, torch.arange(200)), 96, 64, relief_m=20.0, resolution_m=2.0)
    assert made.shape == (200, 1, 96, 64)
    assert made.mean((1, 2, 3)).abs().max() < 1e-3
    sizes = made.std((1, 2, 3))
    assert sizes.max() <= 20.1
    assert 4 < sizes.mean() < 9  # a third of the most, on average
    # Neighbors 2 m apart differ by less than a fifth of the hills' size: nothing there looks like canopy.
    steps = torch.maximum(made.diff(dim=-1).abs().mean((1, 2, 3)), made.diff(dim=-2).abs().mean((1, 2, 3)))
    assert (steps / sizes).max() < 0.2


def test_hills_are_waves_added_up_one_by_one() -> None:
    draw = random_numbers(3, 0, torch.arange(1))
    turn, length, phase = uniform(draw, "hills", 3 * WAVES)[0].reshape(3, WAVES).tolist()
    waves = torch.zeros(10, 14, dtype=torch.float64)
    for share, far, begin in zip(turn, length, phase, strict=True):
        meters = WAVELENGTHS_M[0] * (WAVELENGTHS_M[1] / WAVELENGTHS_M[0]) ** far
        for y in range(10):
            for x in range(14):
                along = y * math.sin(2 * math.pi * share) + x * math.cos(2 * math.pi * share)
                waves[y, x] += meters**ROUGHNESS * math.cos(2 * math.pi * (along / meters + begin))
    waves -= waves.mean()
    made = random_relief(draw, 10, 14, relief_m=10.0, resolution_m=1.0)[0, 0].double()
    torch.testing.assert_close(made / made.norm(), waves / waves.norm(), atol=1e-4, rtol=0)
