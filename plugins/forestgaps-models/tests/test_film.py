from __future__ import annotations

import torch

from forestgaps_models.film import Film, ThresholdEncoding

X = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))


def awake(film: Film) -> Film:
    torch.manual_seed(1)
    torch.nn.init.normal_(film.modulation.weight)
    torch.nn.init.normal_(film.modulation.bias)
    return film


def test_modulation_begins_as_the_identity() -> None:
    out = Film(4, 8)(X, torch.randn(2, 3, 8))
    assert torch.equal(out, X.repeat_interleave(3, dim=0))


def test_modulation_is_scale_and_shift_of_each_plane_by_its_threshold() -> None:
    film, code = awake(Film(4, 8)), torch.randn(2, 3, 8)
    out = film(X, code)
    for sample in range(2):
        for threshold in range(3):
            numbers = film.modulation.weight @ code[sample, threshold] + film.modulation.bias
            for channel in range(4):
                expected = (1 + numbers[channel]) * X[sample, channel] + numbers[4 + channel]
                torch.testing.assert_close(out[sample * 3 + threshold, channel], expected)


def test_features_may_be_shared_by_the_thresholds_or_have_one_copy_each() -> None:
    film, code = awake(Film(4, 8)), torch.randn(2, 3, 8)
    torch.testing.assert_close(film(X.repeat_interleave(3, dim=0), code), film(X, code))


def test_the_code_tells_thresholds_apart_also_under_bf16() -> None:
    code = ThresholdEncoding(16)
    near = torch.tensor([[20.0, 20.1, 0.5, 60.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = code(near)
    assert out.dtype == torch.float32
    assert out.isfinite().all()
    assert not torch.equal(out[0, 0], out[0, 1])
