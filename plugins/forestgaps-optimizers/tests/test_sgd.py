from __future__ import annotations

import pytest

from forestgaps_optimizers import SGD


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a momentum"):
        SGD(momentum=0.0, nesterov=True)
