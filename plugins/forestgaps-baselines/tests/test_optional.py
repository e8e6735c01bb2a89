from __future__ import annotations

import pytest

from forestgaps_baselines.optional import import_optional
from forestgaps_core.errors import PluginError


def test_a_missing_package_is_named_with_what_to_install() -> None:
    with pytest.raises(PluginError, match=r"the filter 'csf' needs a package .* 'forestgaps-baselines\[csf\]'"):
        import_optional("no_such_module_of_anybody", "csf")


def test_an_installed_package_is_not_imported() -> None:
    import_optional("numpy", "csf")
