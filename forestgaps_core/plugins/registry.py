"""The components and other records that plugins offer, by name: which there are, who offers them, and where names clash.

Reading the tables costs no import of torch: targets are strings, imported when a run file names them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from forestgaps_core.errors import PluginError, nearest
from forestgaps_core.kinds import GENERIC_HOOK, TABLES, USES_FURTHER_KINDS, BuildContext, Command, Kind, Pretrained, Recipe, Renamed
from forestgaps_core.plugins.aliases import Alias, resolve_aliases
from forestgaps_core.plugins.hook_checks import CORE as CORE
from forestgaps_core.plugins.hook_checks import explain_malformed_record, explain_malformed_row
from forestgaps_core.plugins.kind_tables import KindTables, read_kind_tables
from forestgaps_core.plugins.loading import PluginLoader
from forestgaps_core.plugins.names import ComponentOffer as ComponentOffer
from forestgaps_core.plugins.names import Offer, choose_offer, explain_missing_package, full_name, list_usable_names
from forestgaps_core.plugins.names import Plugin as Plugin
from forestgaps_core.plugins.names import load_target as load_target
from forestgaps_core.plugins.names import normalize_name as normalize_name
from forestgaps_core.plugins.session import add_component

if TYPE_CHECKING:
    from forestgaps_core.components import Engine, Executor

CORE_COMMANDS = frozenset({"train", "test", "publish", "config", "plugins"})  # their names are not offered to plugins


def register(kind: str, name: str, component: Callable[..., Any]) -> None:
    """Offer a class or function of the running session, such as of a notebook, by name.

    All run files that are read afterwards can name it. Registering a name again replaces what it stood for.

    Example:
        `register("loss", "mine", my_loss)`, then `load_config("run.toml", overrides=["loss.name=mine"])`

    Raises:
        PluginError: There is no such kind, the name cannot be used, or it has none of the forms of a component.
    """
    if problem := explain_malformed_row(name, component):
        raise PluginError(f"register: {problem}")
    added, undo = add_component(kind, name, component)
    try:
        plugins = Plugins.discover()
        plugins.component(kind, f"{added.distribution}:{name}").load()
    except PluginError:
        undo()
        raise


@define(eq=False)
class Plugins(PluginLoader):
    """The plugins of this process, and what they offer.

    Make it with `Plugins.discover()`; a plain `Plugins()` knows none.
    """

    _tables: dict[str, dict[str, list[ComponentOffer]]] = field(factory=dict, init=False)
    _aliases: dict[str, dict[str, list[Alias]]] = field(factory=dict, init=False)
    _kind_tables: KindTables = field(factory=KindTables, init=False)
    _offers: dict[str, dict[str, list[Offer]]] = field(factory=dict, init=False)
    _read_at: int = field(default=-1, init=False)  # `loads` when these were read

    # --- kinds ------------------------------------------------------------------------------------------------------

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kinds of components: the core's, then those that plugins declare."""
        self._forget_old_tables()
        return self._kind_tables.kinds

    @property
    def further_kinds(self) -> Mapping[str, Plugin]:
        """The kinds that plugins declare, each with its plugin."""
        self._forget_old_tables()
        return self._kind_tables.owners

    def explain_refused_kind(self, kind: str) -> str:
        """Return why a kind that is declared cannot be used in a table of a run file, or ''."""
        self._forget_old_tables()
        if kind in self.kinds and self.kinds[kind].is_option:
            return f"{kind} has no table in run files; a command uses it: {self.kinds[kind].how.format('NAME')}"
        if kind in self._kind_tables.owners and not self.kinds[kind].table:
            return f"{kind} have no table of their own; they are parts of other components"
        return self._kind_tables.refused.get(kind, "")

    # --- components -------------------------------------------------------------------------------------------------

    def components(self, kind: str) -> Mapping[str, Sequence[ComponentOffer]]:
        """Everything offered of this kind by name; more than one for a name is a clash."""
        self._forget_old_tables()
        if kind not in self._tables:
            table: dict[str, list[ComponentOffer]] = {}
            renamed: list[tuple[Plugin, str, Renamed]] = []
            about = self.kinds[kind]
            hook = about.hook
            if kind in USES_FURTHER_KINDS:
                further = {name: f"the run's {name}" for name in self.further_kinds if self.kinds[name].table}
                about = evolve(about, arguments={**about.arguments, **further})
            for plugin, name, target in self._kind_tables.components.get(kind, ()) if hook == GENERIC_HOOK else self.rows(hook):
                if problem := explain_malformed_row(name, target):
                    plugin.fail("table", f"{hook} offers {problem}")
                elif isinstance(target, Renamed):
                    renamed.append((plugin, name, target))
                else:
                    table.setdefault(name, []).append(ComponentOffer(kind, name, target, plugin, about))
            self._tables[kind] = dict(sorted(table.items()))
            self._aliases[kind] = resolve_aliases(renamed, table, hook)
        return self._tables[kind]

    def aliases(self, kind: str) -> Mapping[str, Sequence[Alias]]:
        """Old names of components of this kind."""
        self.components(kind)
        return self._aliases[kind]

    def components_and_aliases(self, kind: str) -> Mapping[str, Sequence[ComponentOffer | Alias]]:
        """What a run file may name: components, and their old names."""
        rows: dict[str, Sequence[ComponentOffer | Alias]] = {**self.components(kind)}
        for name, aliases in self.aliases(kind).items():
            rows[name] = [*rows.get(name, ()), *aliases]
        return rows

    def current_name(self, kind: str, name: str) -> str:
        """Return the full name that a component has now, of the full name under which it was recorded."""
        for alias in self.aliases(kind).get(name.rpartition(":")[2], ()) if kind in self.kinds else ():
            if normalize_name(full_name(alias)) == normalize_name(name):
                return alias.component.full_name
        return name

    def component(self, kind: str, name: str, *, advised: bool = True) -> ComponentOffer:
        """The component of this name, which may be written `distribution:name` to choose between two.

        Args:
            advised: Whether an error about an unknown name says what may help.

        Raises:
            PluginError: None has this name, or more than one.
        """
        if kind not in self.kinds:
            if package := explain_missing_package(kind, name, self.records):
                raise PluginError(f"no {kind} named {name!r}: it {package}")
            raise PluginError(self.explain_refused_kind(kind) or f"no kind of components named {kind!r}{nearest(kind, self.kinds)}")
        one = kind.removesuffix("s") if self.kinds[kind].several else kind
        if missing := self.missing_package(kind, name):
            raise PluginError(f"no {one} named {name!r}: it {missing}")
        old = {short: self.components_and_aliases(kind)[short] for short in self.aliases(kind) if short == name.rpartition(":")[2]}
        try:
            found = choose_offer({**self.components(kind), **old}, name, one, how=self.kinds[kind].how.format, plugins=self.records)
        except PluginError as error:
            if not advised or ":" in name or name in self.components(kind) or old:
                raise
            raise PluginError(f"{error}. {self.advice()}") from None
        if isinstance(found, Alias):
            found.warn()
            return found.component
        return found

    def advice(self) -> str:
        """What may help where a name is offered by no plugin."""
        if self.broken:
            return "Not loaded: " + "; ".join(f"{p} ({p.failed}: {p.reason})" for p in self.broken)
        return "If another package offers it, install that package; `forestgaps plugins list` shows what is installed"

    def component_of(self, kind: str, config: Any, chosen: str | None = None) -> ComponentOffer:
        """The offered component whose config class this is.

        Args:
            chosen: Its full name, where it is known; several names may be of one class.
        """
        place = f"{type(config).__module__}:{type(config).__qualname__}"  # also of the class that is made for a function
        found = [component for offers in self.components(kind).values() for component in offers if component.place == place]
        current = [component for component in found if isinstance(component.target, str) or component.load() is type(config)]
        if found and not current:
            raise PluginError(f"the {kind} {place} was defined anew since this config was made; make the config again")
        if not current:
            raise PluginError(
                f"no installed plugin offers the {kind} {place}, so a run file cannot name it; offer it, or use `Trainer` directly"
            )
        package = place.partition(":")[0].partition(".")[0]
        # First the one that was chosen; else of several that offer one class the package that it is in.
        return min(
            current, key=lambda component: (component.full_name != chosen, component.plugin.module.partition(".")[0] != package)
        )

    def build(self, kind: str, name: str, config: Any, context: BuildContext) -> Any:
        """Build a component through the hook; `context` then tells which plugins altered it."""
        context.build_part = context.build_part or self.build_part
        self._builds.append(context)
        try:
            return self._manager.hook.forestgaps_build(kind=kind, name=name, config=config, context=context)
        finally:
            self._builds.pop()

    def build_part(self, kind: str, config: Any, context: BuildContext) -> Any:
        """Build a component inside another through the hook."""
        return self.build(kind, self.component_of(kind, config, context.names.get(context.place)).full_name, config, context)

    # --- other tables -----------------------------------------------------------------------------------------------

    def offers(self, table: str) -> Mapping[str, Sequence[Offer]]:
        """Everything in one of the `TABLES` by name; more than one for a name is a clash."""
        self._forget_old_tables()
        if table not in self._offers:
            about, found = TABLES[table], dict[str, list[Offer]]()
            for plugin, name, record in self.rows(about.hook):
                if problem := explain_malformed_record(name, record, about.record, about.spelling):
                    plugin.fail("table", f"{about.hook} offers {problem}")
                else:
                    found.setdefault(name, []).append(Offer(name, record, plugin))
            self._offers[table] = dict(sorted(found.items()))
        return self._offers[table]

    def offer(self, table: str, name: str, *, what: str = "", plural: str = "") -> Offer:
        """The row of one of the `TABLES` with this name, which may be written `distribution:name`.

        Raises:
            PluginError: None has this name, or more than one.
        """
        if missing := self.missing_package(table, name):
            raise PluginError(f"no {what or table} named {name!r}: it {missing}")
        how = TABLES[table].how.format
        return choose_offer(self.offers(table), name, what or table, how=how, plugins=self.records, plural=plural)

    def missing_package(self, table: str, name: str) -> str:
        """Return which of the project's packages offers a name that no plugin offers, and how to install it; else ''."""
        if ":" in name or name in (self.components_and_aliases(table) if table in self.kinds else self.offers(table)):
            return ""
        return explain_missing_package(table, name, self.records)

    def usable(self, table: str) -> dict[str, tuple[Plugin, Any]]:
        """Plugin and record by the names that can be used: short ones, and full ones where several plugins offer a name."""
        return {name: (offer.plugin, offer.record) for name, offer in list_usable_names(self.offers(table)).items()}

    def commands(self) -> Mapping[str, tuple[Plugin, Command]]:
        """Commands by the names that call them; those with the name of the core's own have their full name only."""
        rows: dict[str, tuple[Plugin, Command]] = self.usable("command")
        return {(f"{plugin.distribution}:{name}" if name in CORE_COMMANDS else name): (plugin, command)
                for name, (plugin, command) in rows.items()}  # fmt: skip

    def recipes(self) -> Mapping[str, tuple[Plugin, Recipe]]:
        return self.usable("recipe")

    def networks(self) -> Mapping[str, tuple[Plugin, Pretrained]]:
        return self.usable("network")

    def executors(self) -> Mapping[str, tuple[Plugin, str]]:
        """Targets by the scheme of the address they serve."""
        return self.usable("executor")

    def executor(self, scheme: str) -> Callable[[str], Executor]:
        """What makes an executor from an address of this scheme.

        Raises:
            PluginError: None serves it, or several do; or it cannot be imported; the message names the package.
        """
        offer = self.offer("executor", scheme, what="executor")
        made: Callable[[str], Executor] = load_target(offer.record, f"the executor for {offer.name}:// of {offer.plugin}")
        return made

    def engines(self) -> Mapping[str, tuple[Plugin, str]]:
        """Targets by the engine's name."""
        return self.usable("engine")

    def engine(self, name: str) -> Engine:
        """The engine of this name.

        Raises:
            PluginError: There is none, or several; or it cannot be imported; the message names the package.
        """
        offer = self.offer("engine", name, plural="installed engines")
        made: Engine = load_target(offer.record, f"the engine {offer.name!r} of {offer.plugin}")()
        return made

    def clashes(self) -> list[str]:
        """One sentence for each name that several plugins offer, or that the core has itself."""
        sentences = []
        tables: list[tuple[str, Mapping[str, Sequence[Any]], str]] = [
            *((kind, self.components_and_aliases(kind), about.how) for kind, about in self.kinds.items()),
            *((table, self.offers(table), about.how) for table, about in TABLES.items()),
        ]
        for table, rows, how in tables:
            place = f"{table}." if table in self.kinds else f"{table} "
            for name, offers in rows.items():
                full = how.format(f"{offers[0].plugin.distribution}:{name}")
                owners = " and ".join(str(offer.plugin) for offer in offers)
                if table == "command" and name in CORE_COMMANDS:
                    sentences.append(f"{place}{name} is the core's own and is offered by {owners}; call the other with {full}")
                elif len(offers) > 1:
                    sentences.append(f"{place}{name} is offered by {owners}; choose with {full}")
        return sentences

    def _forget_old_tables(self) -> None:
        if self._read_at != self.loads:
            self._read_at = self.loads
            self._tables.clear()
            self._offers.clear()
            self._kind_tables = read_kind_tables(self.rows)
