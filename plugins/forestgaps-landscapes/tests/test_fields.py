from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_landscapes.simulation.fields import make_gaussian_field, render_highest, sample_pixels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_field_has_mean_zero_and_variance_one():
    field = make_gaussian_field(generator(), 128, 1.0, longest_m=20)
    assert abs(field.mean().item()) < 1e-5
    assert abs(field.std().item() - 1) < 1e-4


def test_the_power_of_a_field_falls_with_the_exponent_requested():
    field = make_gaussian_field(generator(), 512, 1.0, longest_m=40, exponent=3.0)
    power = torch.fft.rfft2(field).abs().square()
    k = torch.hypot(torch.fft.fftfreq(512)[:, None], torch.fft.rfftfreq(512)[None, :])
    inside = (k > 0.05) & (k < 0.4)
    x, y = k[inside].log(), power[inside].log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert abs(slope.item() + 3.0) < 0.05


def test_texture_keeps_its_size_in_meters_at_another_resolution():
    def similarity_at_8_m(resolution_m: float) -> float:
        size, lag = round(512 / resolution_m), round(8 / resolution_m)
        field = make_gaussian_field(generator(), size, resolution_m, longest_m=40, shortest_m=4, exponent=3.0)
        return (field[:, lag:] * field[:, :-lag]).mean().item()

    assert abs(similarity_at_8_m(1.0) - similarity_at_8_m(2.0)) < 0.1


def slow_highest(size, resolution_m, x, y, radius, height):
    plane = torch.full((size, size), -torch.inf)
    for row in range(size):
        for column in range(size):
            for n in range(len(x)):
                dx, dy = (column + 0.5) * resolution_m - x[n], (row + 0.5) * resolution_m - y[n]
                r = torch.hypot(dx, dy) / radius[n]
                if r < 1:
                    plane[row, column] = torch.maximum(plane[row, column], height[n] * (1 - r))
    return plane


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0, 2.0]))
def test_stamping_equals_a_loop_over_pixels_and_surfaces(seed, resolution_m):
    size, count = 18, 6
    u = torch.rand((4, count), generator=generator(seed))
    x, y = (u[:2] * 1.4 - 0.2) * size * resolution_m  # some stand outside
    radius, height = 0.3 + 6 * u[2], 5 + 20 * u[3]

    def cone(i, dx, dy):
        r = torch.hypot(dx, dy) / radius[i]
        return torch.where(r < 1, height[i] * (1 - r), -torch.inf)

    torch.testing.assert_close(
        render_highest(size, resolution_m, x, y, radius, cone), slow_highest(size, resolution_m, x, y, radius, height)
    )


def test_the_order_of_surfaces_changes_nothing():
    x, y, radius, height = torch.rand((4, 50), generator=generator()) * 30 + 1
    order = torch.randperm(50, generator=generator())

    def cylinders(part):
        def surface(i, dx, dy):
            return torch.where(torch.hypot(dx, dy) < radius[part][i], height[part][i], -torch.inf)

        return render_highest(32, 1.0, x[part], y[part], radius[part], surface)

    assert torch.equal(cylinders(torch.arange(50)), cylinders(order))


def test_nothing_to_stamp_leaves_nothing():
    none = torch.zeros(0)
    assert (render_highest(16, 1.0, none, none, none, lambda i, dx, dy: dx) == -torch.inf).all()


def test_points_outside_take_the_nearest_pixel():
    plane = torch.arange(16.0).view(4, 4)
    assert sample_pixels(plane, torch.tensor([-5.0, 0.7, 99.0]), torch.tensor([-5.0, 1.2, 99.0]), 0.5).tolist() == [0.0, 9.0, 15.0]
