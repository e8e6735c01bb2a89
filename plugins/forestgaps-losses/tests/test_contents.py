from __future__ import annotations

from importlib import import_module

import attrs
import pytest

import forestgaps_losses
from forestgaps_core.testing import check_config


@pytest.mark.parametrize(("name", "target"), forestgaps_losses.forestgaps_losses().items())
def test_every_name_leads_to_a_documented_config(name: str, target: str) -> None:
    assert name == name.lower()
    module, _, kind = target.partition(":")
    config = getattr(import_module(module), kind)
    check_config(config())
    assert "Source:" in config.__doc__, f"{kind} does not say where its formula is from"
    assert all(attribute.metadata["help"].endswith(".") for attribute in attrs.fields(config))
