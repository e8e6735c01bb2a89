from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import attrs
import pytest

import forestgaps_losses
from forestgaps_core.testing import check_config


def test_the_table_of_contents_imports_no_torch_and_no_numpy() -> None:
    code = "import sys, forestgaps_losses as f; f.forestgaps_losses(); print(*{'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize(("name", "target"), forestgaps_losses.forestgaps_losses().items())
def test_every_name_leads_to_a_documented_config(name: str, target: str) -> None:
    assert name == name.lower()
    module, _, kind = target.partition(":")
    config = getattr(import_module(module), kind)
    check_config(config())
    assert "Source:" in config.__doc__, f"{kind} does not say where its formula is from"
    assert all(attribute.metadata["help"].endswith(".") for attribute in attrs.fields(config))


def test_classes_are_found_in_the_package_itself() -> None:
    from forestgaps_losses.focal_dice import CombinedFocalDiceLoss

    assert forestgaps_losses.CombinedFocalDiceLoss is CombinedFocalDiceLoss
    assert "CombinedFocalDiceLoss" in dir(forestgaps_losses)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="CombinedDiceFocalLoss"):
        _ = forestgaps_losses.CombinedDiceFocalLoss
