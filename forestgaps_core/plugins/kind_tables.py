"""The kinds of components that plugins declare, and the components that are offered for them.

The core's kinds come through the same hook. A kind that two plugins declare can be used by none of them until one is disabled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field

from forestgaps_core.errors import nearest
from forestgaps_core.kinds import COMMAND_KINDS, GENERIC_HOOK, KINDS, NAME, RUN_ARGUMENTS, TABLES, Kind
from forestgaps_core.plugins.hook_checks import CORE, TARGET, represent_value
from forestgaps_core.plugins.names import Plugin

Rows = Callable[[str], Iterable[tuple[Plugin, str, Any]]]

# Tables of a run file that are no components, and words that have another meaning where a kind's name is written.
RESERVED = frozenset(
    {"thresholds", "training", "environment", "plugins", "base", "names", "further", "name"}
    | RUN_ARGUMENTS.keys()
    | TABLES.keys()
    | {argument for kind in KINDS.values() for argument in kind.arguments}
)


@define(eq=False)
class KindTables:
    """What the plugins of a process declare.

    Attributes:
        kinds: Those that can be used: the core's in its own order, then those of plugins by name.
        owners: Who declares each kind of a plugin.
        refused: Sentences about the kinds that cannot be used.
        components: Plugin, name and target of what `forestgaps_components` lists, by kind.
    """

    kinds: dict[str, Kind] = field(factory=dict)
    owners: dict[str, Plugin] = field(factory=dict)
    refused: dict[str, str] = field(factory=dict)
    components: dict[str, list[tuple[Plugin, str, Any]]] = field(factory=dict)


def read_kind_tables(rows: Rows) -> KindTables:
    """Read both hooks; what is wrong is recorded for the plugin that offers it."""
    tables = KindTables()
    declared: dict[str, list[tuple[Plugin, Kind]]] = {}
    for plugin, name, kind in rows("forestgaps_kinds"):
        if plugin.distribution == CORE:
            tables.kinds[name] = kind
        elif problem := explain_malformed_kind(name, kind):
            plugin.fail("table", f"forestgaps_kinds declares {problem}")
        else:
            declared.setdefault(name, []).append((plugin, kind))
    for name, pairs in sorted(declared.items()):
        if len(pairs) == 1:
            ((tables.owners[name], tables.kinds[name]),) = pairs
            continue
        owners = [plugin for plugin, _ in pairs]
        words = " and ".join(map(str, owners))
        tables.refused[name] = f"the kind {name!r} is declared by {words}; disable one of them with -p no:{owners[-1].distribution}"
        for plugin in owners:
            plugin.fail("table", f"forestgaps_kinds: {tables.refused[name]}")
    for plugin, kind_name, table in rows(GENERIC_HOOK):
        if problem := explain_misplaced_table(kind_name, table, tables):
            plugin.fail("table", f"{GENERIC_HOOK}: {problem}")
        else:
            tables.components.setdefault(kind_name, []).extend((plugin, *row) for row in dict(table).items())
    return tables


def explain_malformed_kind(name: object, kind: object) -> str:
    """A sentence if a plugin cannot declare this, else ''. Names the kind."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return f"{represent_value(name)}: a name is lower case letters, digits and underscores"
    if name in KINDS or name in COMMAND_KINDS:
        return f"{name!r}, which is a kind of the core; choose another name"
    if name in RESERVED:
        return f"{name!r}, which has another meaning in run files; choose another name"
    if not isinstance(kind, Kind):
        return f"{name!r}: found {represent_value(kind)}, expected a Kind"
    if kind.hook != GENERIC_HOOK:
        return f"{name!r}: its components are listed by {GENERIC_HOOK}; leave out hook"
    if not all(isinstance(text, str) for text in (kind.makes, kind.check)) or not isinstance(kind.arguments, Mapping):
        return f"{name!r}: makes and check are texts, and arguments is a table of texts"
    if not isinstance(kind.how, str) or kind.how.count("{}") != 1 or (kind.is_option and kind.table):
        return f"{name!r}: how is a text with one {{}}, and an option only where the kind has no table"
    if kind.check and not TARGET.fullmatch(kind.check):
        return f"{name!r}: the check {kind.check!r} is not 'module:function'"
    unknown = [argument for argument in kind.arguments if kind.table and argument not in RUN_ARGUMENTS]
    if unknown:
        near = nearest(str(unknown[0]), RUN_ARGUMENTS)
        return f"{name!r}: the core has no argument {unknown[0]!r}{near}; there is: {', '.join(RUN_ARGUMENTS)}"
    if kind.default is not None and not (kind.table and isinstance(kind.default, Mapping)):
        return f"{name!r}: its default is {represent_value(kind.default)}, expected a table of a run file"
    return ""


def explain_misplaced_table(kind_name: object, table: object, tables: KindTables) -> str:
    """A sentence if these cannot be the components of a kind, else ''."""
    if not isinstance(kind_name, str) or not isinstance(table, Mapping):
        return f"found {represent_value({kind_name: table})}, expected {{kind: {{name: target}}}}"
    if kind_name in tables.refused:
        return tables.refused[kind_name]
    if kind_name not in tables.kinds:
        near, known = nearest(kind_name, tables.owners), ", ".join(tables.owners) or "none"
        return f"offers components of the kind {kind_name!r}, which no installed plugin declares{near}; there is: {known}"
    if (hook := tables.kinds[kind_name].hook) != GENERIC_HOOK:
        return f"offers components of the kind {kind_name!r}; those are listed by {hook}"
    return ""
