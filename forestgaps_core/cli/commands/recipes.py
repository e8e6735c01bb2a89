"""Complete run files that packages bring, found by name."""

from __future__ import annotations

from pathlib import Path

from forestgaps_core.cli.commands.installed import plugins
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.plugins.names import format_error, full_name

DEFAULT_RECIPE = "quick"
DEFAULT_FROM = "forestgaps-landscapes"  # another package with a recipe of that name changes nothing


def default_recipe() -> str:
    """Return the name of the recipe that is used where none is named."""
    offers = plugins().offers("recipe").get(DEFAULT_RECIPE, ())
    return next((full_name(offer) for offer in offers if offer.plugin.distribution == DEFAULT_FROM), DEFAULT_RECIPE)


def recipe_path(name: str | None = None) -> Path:
    """Return the file of a recipe; without a name, of the default one.

    Raises:
        ConfigError: No package offers it, or several do.
        PluginError: The package that offers it lacks the file.
    """
    from importlib.resources import files

    if not plugins().offers("recipe") and not plugins().missing_package("recipe", name or ""):
        raise ConfigError(f'no recipe {name or DEFAULT_RECIPE!r}; pip install "forestgaps-core[standard]" brings some', "recipe")
    try:
        offer = plugins().offer("recipe", name or default_recipe())
    except PluginError as error:
        raise ConfigError(str(error), "recipe") from error
    package, _, file = offer.record.target.partition(":")
    what = f"the recipe {offer.name!r} of {offer.plugin}"
    try:
        path: Path = Path(str(files(package))) / file
    except Exception as error:  # importing the package may raise anything
        raise PluginError(f"{what}: {package} cannot be imported: {format_error(error)}; reinstall the package") from error
    if not path.is_file():
        raise PluginError(f"{what}: {path} is missing; reinstall the package")
    return path
