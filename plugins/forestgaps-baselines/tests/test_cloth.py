from __future__ import annotations

import numpy as np

from forestgaps_baselines.cloth import interpolate_points


def test_points_of_a_plane_give_the_plane() -> None:
    valid = np.ones((9, 11), bool)
    rows, columns = np.nonzero(valid)
    points = np.array([[0.0, 0.0], [0.0, 10.0], [8.0, 0.0], [8.0, 10.0]])
    found = interpolate_points(points, 2 + points @ [0.5, 0.25], valid)
    np.testing.assert_allclose(found[rows, columns], 2 + 0.5 * rows + 0.25 * columns)


def test_outside_of_the_points_the_nearest_counts() -> None:
    found = interpolate_points(
        np.array([[1.0, 1.0], [1.0, 3.0], [3.0, 1.0], [3.0, 3.0]]), np.array([1.0, 2.0, 3.0, 4.0]), np.ones((5, 5), bool)
    )
    assert (found[0, 0], found[0, 4], found[4, 0], found[4, 4]) == (1, 2, 3, 4)


def test_points_in_one_line_give_the_nearest() -> None:
    found = interpolate_points(np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 4.0], [0.0, 6.0]]), np.arange(4.0), np.ones((3, 8), bool))
    assert found[2, 6] == 3
    assert np.isfinite(found).all()
