from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import forestgaps_models as contents


def test_every_name_leads_to_a_config() -> None:
    for target in contents.forestgaps_models().values():
        module, name = target.split(":")
        assert callable(getattr(import_module(module), name).build)


@pytest.mark.parametrize("name", sorted(contents._PUBLIC))
def test_what_people_look_for_is_found(name: str) -> None:
    assert getattr(contents, name).__name__ == name


def test_the_table_of_contents_costs_nothing() -> None:
    code = "import sys, forestgaps_models as m; m.forestgaps_models(); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="Unet"):
        _ = contents.Unet
