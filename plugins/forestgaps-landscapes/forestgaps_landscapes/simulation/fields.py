"""Smooth random fields, and the highest of many small surfaces: what terrain and forest are both made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

HALF_WIDTHS_PX = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # half widths, pixels; each class is stamped at once
MAX_PIXELS_AT_ONCE = 1 << 20  # bounds the memory of a stamping step to some tens of megabytes


def compute_coordinates(size: int, resolution_m: float) -> tuple[Tensor, Tensor]:
    """X (1, W) and y (H, 1) of the pixel centers, meters from the landscape's upper left corner."""
    center = (torch.arange(size) + 0.5) * resolution_m
    return center[None, :], center[:, None]


def make_gaussian_field(
    generator: Generator, size: int, resolution_m: float, *, longest_m: float, shortest_m: float = 0.0, exponent: float = 4.0
) -> Tensor:
    """A Gaussian field of mean 0 and variance 1, (size, size), by spectral synthesis.

    White noise is filtered so that its power falls as k^-exponent (k cycles per meter) from the wavelength `longest_m` down to
    `shortest_m` and is level, or nil, beyond. An exponent of 2 H + 2 gives a fractal surface of Hurst exponent H. The
    field is cut out of one twice as wide, whose ends would meet, whenever `longest_m` is not small against it.

    Source: Saupe 1988, in The Science of Fractal Images, ch. 2, doi 10.1007/978-1-4612-3784-6_2
    """
    wide = size if 8 * longest_m < size * resolution_m else 2 * size
    noise = torch.fft.rfft2(torch.randn((wide, wide), generator=generator))
    fy = torch.fft.fftfreq(wide, resolution_m)[:, None]
    fx = torch.fft.rfftfreq(wide, resolution_m)[None, :]
    k = (fy.square() + fx.square()).sqrt()
    amplitude = (k * longest_m).clamp(min=1.0).pow(-exponent / 2)
    amplitude[0, 0] = 0.0
    if shortest_m > 0:
        amplitude = amplitude * torch.exp(-(k * shortest_m).square() / 2)
    field: Tensor = torch.fft.irfft2(noise * amplitude, s=(wide, wide))[:size, :size]
    return (field - field.mean()) / field.std().clamp(min=1e-12)


def sample_pixels(plane: Tensor, x: Tensor, y: Tensor, resolution_m: float) -> Tensor:
    """The plane's value at the pixel of each point; points outside take the nearest pixel. (H, W), (N,), (N,) to (N,)."""
    rows, columns = plane.shape
    row = (y / resolution_m).long().clamp(0, rows - 1)
    column = (x / resolution_m).long().clamp(0, columns - 1)
    return plane[row, column]


def render_highest(
    size: int,
    resolution_m: float,
    x: Tensor,
    y: Tensor,
    reach_m: Tensor,
    surface: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """At each pixel the highest of many small surfaces, -inf where there is none; (size, size).

    Each surface is evaluated in a square window that holds its reach, and all windows of a class are stamped at once by a
    scattered maximum. The order of the surfaces does not matter.

    Args:
        x: Centers, meters, (N,), as is y.
        reach_m: The distance beyond which a surface is -inf, (N,).
        surface: From (indices (n, 1, 1), dx, dy (n, w, w), meters from the center) to heights (n, w, w).
    """
    canvas = torch.full((size * size,), -torch.inf)
    half_widths = torch.tensor([w for w in HALF_WIDTHS_PX if w < size] + [size])
    kind = torch.bucketize((reach_m / resolution_m + 0.5).ceil().clamp(max=size).long(), half_widths)
    for k, half in enumerate(half_widths.tolist()):
        members = (kind == k).nonzero()[:, 0]
        offset = torch.arange(-half, half + 1)
        for part in torch.split(members, max(1, MAX_PIXELS_AT_ONCE // len(offset) ** 2)):
            row = ((y[part] / resolution_m).floor().long()[:, None] + offset)[:, :, None]
            column = ((x[part] / resolution_m).floor().long()[:, None] + offset)[:, None, :]
            dx = (column + 0.5) * resolution_m - x[part, None, None]
            dy = (row + 0.5) * resolution_m - y[part, None, None]
            inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
            value = torch.where(inside, surface(part[:, None, None], dx, dy), -torch.inf)
            place = torch.where(inside, row * size + column, 0)
            canvas.scatter_reduce_(0, place.flatten(), value.flatten(), "amax")
    return canvas.view(size, size)
