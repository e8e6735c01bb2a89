"""Complete run files that packages bring, found by name."""

from __future__ import annotations

from pathlib import Path

from forestgaps_core.commands.installed import plugins
from forestgaps_core.errors import ConfigError, PluginError, nearest

DEFAULT_RECIPE = "quick"


def recipe_path(name: str) -> Path:
    from importlib.resources import files

    recipes = plugins().recipes()
    if name not in recipes:
        there = ", ".join(recipes) or 'none; pip install "forestgaps-core[standard]" brings some'
        raise ConfigError(f"no recipe {name!r}{nearest(name, recipes)}; there is: {there}", "recipe")
    plugin, recipe = recipes[name]
    package, _, file = recipe.target.partition(":")
    path = Path(str(files(package))) / file
    if not path.is_file():
        raise PluginError(f"the recipe {name!r} of {plugin}: {path} is missing; reinstall the package")
    return path
