from __future__ import annotations

import pytest

from .kill import Zygote
from .trials import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """Where commands are started and struck; what they make undisturbed is made once."""
    with Zygote() as zygote:
        yield Workshop(zygote, tmp_path_factory.mktemp("workshop"))
