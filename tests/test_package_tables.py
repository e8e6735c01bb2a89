"""The table of names of each package: every name leads to what it promises, and reading the table imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import attrs
import pytest

from forestgaps_core.kinds import COMMAND_KINDS, GENERIC_HOOK, KINDS

PACKAGES = [path.name for path in sorted((Path(__file__).parent.parent / "plugins").glob("*/forestgaps_*"))]
HEAVY = (
    *("torch", "numpy", "scipy", "rich", "matplotlib", "rasterio", "mlflow", "wandb", "tensorboard", "onnx", "torchao"),
    *("dask", "distributed", "safetensors"),
)
NO_CODE = {"forestgaps_recipes", "forestgaps_networks", "forestgaps_kinds"}  # their tables name files, or declare
COMPONENT_HOOKS = {GENERIC_HOOK, *(kind.hook for kind in (*KINDS.values(), *COMMAND_KINDS.values()))}
# Names that people look for in the package itself, beside the classes of its tables.
EXPORTS = {
    "forestgaps_evaluation": ("TileCounts", "count_tiles"),
    "forestgaps_landscapes": ("Landscape", "Landscapes", "Settings", "simulate"),
    "forestgaps_losses": ("CombinedFocalDiceLoss",),
    "forestgaps_metrics": ("BoundaryScore", "Calibration", "ConfusionMatrix", "Curves", "GapObjects", "GridCells", "Heights"),
    "forestgaps_models": ("UNet", "View", "measure_cost"),
    "forestgaps_normalization": ("GroupNormConfig", "convert_normalization"),
    "forestgaps_optimizers": ("AdamW", "can_fuse", "parameter_groups"),
    "forestgaps_rasters": ("Rasters", "Site", "predict_raster", "prepare_sites"),
    "forestgaps_schedulers": ("Plateau", "WarmupCosine"),
}
WHOLE_TABLES = {
    "forestgaps_baselines": "BASELINES",
    "forestgaps_losses": "LOSSES",
    "forestgaps_models": "MODELS",
    "forestgaps_normalization": "NORMALIZATIONS",
    "forestgaps_optimizers": "OPTIMIZERS",
    "forestgaps_schedulers": "SCHEDULERS",
}


def importable_targets() -> list[tuple[str, str, str, str]]:
    """Return package, hook, name and target of each row of each table that names something to import."""
    rows = []
    for package in PACKAGES:
        hooks = {name: hook for name, hook in vars(import_module(package)).items() if name.startswith("forestgaps_")}
        for hook_name, hook in hooks.items():
            if hook_name == "forestgaps_components":
                rows += [(package, hook_name, name, target) for table in hook().values() for name, target in table.items()]
            elif callable(hook) and hook_name not in NO_CODE:
                rows += [(package, hook_name, name, getattr(row, "target", row)) for name, row in hook().items()]
    return rows


TARGETS = importable_targets()


@pytest.mark.parametrize("package", PACKAGES)
def test_reading_the_tables_imports_nothing_heavy(package):
    code = (
        f"import sys, {package} as package; "
        "[hook() for name, hook in list(vars(package).items()) if name.startswith('forestgaps_') and callable(hook)]; "
        f"print(*set({HEAVY}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("package", "hook", "name", "target"), TARGETS, ids=[f"{row[0]}-{row[2]}" for row in TARGETS])
def test_a_name_leads_to_what_its_hook_promises(package, hook, name, target):
    assert name == name.lower()
    assert target.startswith(f"{package}.")
    found = resolve_name(target)
    assert callable(found)
    if hook in COMPONENT_HOOKS:
        assert attrs.has(found)
        assert callable(found.build)


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, exported in EXPORTS.items() for name in exported])
def test_an_exported_name_is_found_in_the_package(package, name):
    module = import_module(package)
    assert getattr(module, name).__name__ == name
    assert name in dir(module)


@pytest.mark.parametrize("package", WHOLE_TABLES)
def test_every_class_of_the_table_is_exported(package):
    module = import_module(package)
    for target in getattr(module, WHOLE_TABLES[package]).values():
        assert getattr(module, target.partition(":")[2]) is resolve_name(target)


@pytest.mark.parametrize("package", EXPORTS)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"{package}.*has no attribute 'Unett'"):
        _ = import_module(package).Unett
