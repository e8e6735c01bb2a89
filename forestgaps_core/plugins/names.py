"""Names of components and other records, and the rule for a name that two plugins offer.

A name that one package offers is enough. A name that several offer is an error for whoever uses it alone; `distribution:name`
chooses. The rule holds for every table: components, commands, recipes, trained networks, executors and engines.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen

from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.files.safe_opening import read_json
from forestgaps_core.kinds import Kind
from forestgaps_core.plugins.config_forms import make_config_class
from forestgaps_core.plugins.isolation import contain
from forestgaps_core.plugins.isolation import format_error as format_error


@define
class Plugin:
    """What is known of one plugin.

    Attributes:
        distribution: Name of the distribution, or of the local file.
        version: Its version; for a local file `sha256:` and the first digits of its hash.
        failed: The stage that failed ("metadata", "requirement", "import", "hooks", "table"), "disabled", or None.
        reason: Why, in one sentence; '' when it works.
        path: The local file, if it is one.
        module: Name of the module with its hooks, '' before it is known.
        source: Text of a component that was registered in this session, '' for all others.
    """

    distribution: str
    version: str
    failed: str | None = None
    reason: str = ""
    path: Path | None = None
    module: str = ""
    source: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    def fail(self, stage: str, reason: str) -> None:
        self.failed, self.reason = stage, reason

    @property
    def usable(self) -> bool:
        """Whether it is loaded; a row of its tables may be wrong."""
        return self.failed in (None, "table")

    def explain_failure(self) -> str:
        """Return "is disabled by WHOM" or "cannot be loaded (STAGE: REASON)"."""
        return f"is disabled {self.reason}" if self.failed == "disabled" else f"cannot be loaded ({self.failed}: {self.reason})"


class Named(Protocol):
    """One row of a table: a name that a plugin offers."""

    @property
    def name(self) -> str: ...

    @property
    def plugin(self) -> Plugin: ...


Row = TypeVar("Row", bound=Named)


@frozen
class Offer:
    """A row of a table that holds records: commands, recipes, trained networks, executors, engines."""

    name: str
    record: Any
    plugin: Plugin


@frozen
class ComponentOffer:
    """A row of a table of components."""

    kind: str
    name: str
    target: str | Callable[..., Any]
    plugin: Plugin
    about: Kind = field(eq=False, repr=False)

    def load(self) -> type:
        """Import the component, and return the class of its settings.

        Raises:
            PluginError: It cannot be imported, or has none of the forms of a component; the message names the package.
        """
        loaded = load_target(self.target, self.words) if isinstance(self.target, str) else self.target
        try:
            return make_config_class(loaded, self.kind, self.about)
        except PluginError as error:
            raise PluginError(f"{self.words}: {self.place} {error}") from error

    @property
    def words(self) -> str:
        return f"the {self.kind} {self.name!r} of {self.plugin}"

    @property
    def full_name(self) -> str:
        return full_name(self)

    @property
    def place(self) -> str:
        """`module:Name`, whether it is loaded or not."""
        return self.target if isinstance(self.target, str) else f"{self.target.__module__}:{self.target.__qualname__}"


def full_name(row: Named) -> str:
    """Return the name that is unambiguous whatever else is installed: `distribution:name`."""
    return f"{row.plugin.distribution}:{row.name}"


def list_usable_names(table: Mapping[str, Sequence[Row]]) -> dict[str, Row]:
    """Return the names that can be used as they are: short where one package offers them, full where several do."""
    names = {full_name(row) if len(rows) > 1 else name: row for name, rows in table.items() for row in rows}
    return dict(sorted(names.items(), key=lambda item: (item[1].name, item[0])))


def choose_offer(
    table: Mapping[str, Sequence[Row]],
    wanted: str,
    what: str,
    *,
    how: Callable[[str], str],
    plugins: Iterable[Plugin],
    plural: str = "",
) -> Row:
    """Return the row of this name, which may be `distribution:name`.

    Args:
        what: What it is a name of, such as "loss".
        how: How a full name is written where this name was found, such as `name = "canopy-extras:squared"`.
        plugins: All that are known, working or not.
        plural: Words for the names that there are; by default "there is".

    Raises:
        PluginError: No package offers it, or several do.
    """
    owner, _, short = wanted.rpartition(":")
    rows = [row for row in table.get(short, []) if not owner or normalize_name(row.plugin.distribution) == normalize_name(owner)]
    if len(rows) == 1:
        return rows[0]
    if rows:
        owners = " and ".join(str(row.plugin) for row in rows)
        choice = " or ".join(how(full_name(row)) for row in rows)
        raise PluginError(f"{short!r} is offered by {owners}; choose with {choice}")
    if owner:
        raise PluginError(explain_not_offered(owner, short, what, table, plugins))
    there = ", ".join(list_usable_names(table)) or "none; no installed plugin offers any"
    raise PluginError(f"no {what} named {wanted!r}{nearest(short, table)}; {plural or 'there is'}: {there}")


def explain_not_offered(owner: str, short: str, what: str, table: Mapping[str, Sequence[Named]], plugins: Iterable[Plugin]) -> str:
    """Say why a distribution does not offer a name: it is not installed, does not work, or offers others."""
    plugin = next((plugin for plugin in plugins if normalize_name(plugin.distribution) == normalize_name(owner)), None)
    if plugin is None:
        return f"no {what} named {f'{owner}:{short}'!r}: {owner} is not installed{format_install_command(owner)}"
    if not plugin.usable:
        return f"no {what} named {f'{owner}:{short}'!r}: {plugin} {plugin.explain_failure()}"
    own = [name for name, rows in table.items() if any(row.plugin is plugin for row in rows)]
    return f"no {what} named {short!r} in {plugin}{nearest(short, own)}; it offers: {', '.join(own) or 'none'}"


def format_install_command(distribution: str, version: str = "") -> str:
    """Return '; pip install NAME==VERSION' for what pip can install, and '' for anything else that a file may name."""
    if distribution.endswith(".py"):
        return "; give the file with -p"
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", distribution):
        return ""
    known = re.fullmatch(r"[0-9][A-Za-z0-9.!+-]{0,63}", version)
    return f"; pip install {distribution}{f'=={version}' if known else ''}"


# --- targets --------------------------------------------------------------------------------------------------------


def load_target(target: str, what: str) -> Any:
    """Return what `module:attribute` names, imported as `contained` says.

    Raises:
        PluginError: It cannot be had; begins with `what`.
    """
    module_name, _, attribute = target.partition(":")
    try:
        with contain(what), keep_torch_settings(what):
            module = import_module(module_name)
            if hasattr(module, attribute):
                return getattr(module, attribute)
    except Exception as error:
        raise PluginError(
            f"{what} cannot be imported from {target}: {format_error(error)}; reinstall or update the package"
        ) from error
    raise PluginError(f"{what}: {module_name} has no {attribute!r}{nearest(attribute, dir(module))}")


def keep_torch_settings(what: str) -> AbstractContextManager[None]:
    """Torch's settings are put back after the block, where torch is imported already."""
    if "torch" not in sys.modules:
        return nullcontext()
    from forestgaps_core.runtime.environment import keep_torch_settings as kept

    return kept(what)


def normalize_name(distribution: str) -> str:
    """Return a distribution's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


# --- the project's own packages -----------------------------------------------------------------------------------------
# docs/generate.py writes `first_party.json` from their tables; a test compares the two.


def find_package(table: str, name: str) -> str:
    """Return the distribution that offers a name in a table, such as "loss" or "command"; '' if none of the project's does."""
    packages: dict[str, dict[str, list[str]]] = read_json(Path(__file__).with_name("first_party.json"))
    return next((package for package, tables in packages.items() if name in tables.get(table, ())), "")


def explain_missing_package(table: str, name: str, plugins: Iterable[Plugin]) -> str:
    """Return "comes with PACKAGE, which is not installed; pip install PACKAGE", or ''.

    Args:
        name: That no plugin offers. The sentence is '' if none of the project's packages offers it either, and if the installed
            version of the package does not.
        plugins: All that are known, working or not.
    """
    owner = find_package(table, name)
    plugin = next((plugin for plugin in plugins if normalize_name(plugin.distribution) == owner), None)
    if owner and plugin is None:
        return f"comes with {owner}, which is not installed{format_install_command(owner)}"
    if plugin is not None and not plugin.usable:
        return f"comes with {plugin}, which {plugin.explain_failure()}"
    return ""
