"""Components that are defined in the running Python session, such as in a cell of a notebook.

No file and no package can be recorded for them. Run folders record the source text of the component itself, and its hash.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable
from types import ModuleType
from typing import Any

from attrs import frozen

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.kinds import COMMAND_KINDS, GENERIC_HOOK, KINDS
from forestgaps_core.plugins.local_files import compute_digest

PREFIX = "session/"  # no distribution has such a name

_registered: dict[str, SessionComponent] = {}  # by distribution


@frozen(eq=False)
class SessionComponent:
    """A component of this session.

    Attributes:
        source: Its text, '' where Python does not know it.
    """

    kind: str
    name: str
    target: Callable[..., Any]
    source: str

    @property
    def distribution(self) -> str:
        """What stands for a package in records, such as `session/loss.mine`."""
        return f"{PREFIX}{self.kind}.{self.name}"

    @property
    def version(self) -> str:
        return f"sha256:{compute_digest(self.source.encode())}" if self.source else "unknown"

    def make_module(self) -> ModuleType:
        """Return a module with the hook that offers it."""
        module = ModuleType(str(getattr(self.target, "__module__", "")))
        about = {**KINDS, **COMMAND_KINDS}.get(self.kind)
        hook = about.hook if about else GENERIC_HOOK

        def offer() -> dict[str, Any]:
            table: dict[str, Any] = {self.name: self.target}
            return {self.kind: table} if hook == GENERIC_HOOK else table

        setattr(module, hook, hookimpl(offer))
        return module


def list_registered() -> list[SessionComponent]:
    return list(_registered.values())


def add_component(kind: str, name: str, target: Callable[..., Any]) -> tuple[SessionComponent, Callable[[], None]]:
    """Remember a component, in place of one of the same kind and name; returns what undoes it."""
    component = SessionComponent(kind, name, target, read_source(target))
    before = dict(_registered)

    def undo() -> None:
        _registered.clear()
        _registered.update(before)

    _registered[component.distribution] = component
    return component, undo


def read_source(target: Any) -> str:
    """Return the text of a function or class; '' where Python does not know it."""
    try:
        return inspect.getsource(target)
    except (OSError, TypeError):  # `inspect` does not find a class of a notebook
        return find_class_source(target) if isinstance(target, type) else ""


def find_class_source(target: type) -> str:
    """Return the text of a class, found through the place of its methods."""
    for value in vars(target).values():
        code = getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None
        text = "".join(linecache.getlines(code.co_filename)) if code else ""
        try:
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
        except SyntaxError:  # what a tool of notebooks has changed
            continue
        for node in nodes:
            if node.name == target.__name__:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                return "".join(text.splitlines(keepends=True)[first - 1 : node.end_lineno])
    return ""


# --- in run folders -------------------------------------------------------------------------------------------------


def name_source_file(distribution: str, version: str) -> str:
    """Return the name of the file with the source text of a component of a session, in `plugins/` of a run folder."""
    return f"{distribution.replace('/', '-')}-{version.partition(':')[2]}.txt"


def explain_unregistered(distribution: str, copy: str) -> str:
    """Return that a component of a session is not there, and how to register it.

    Args:
        copy: Path of its source text, or ''.
    """
    kind, _, name = distribution.removeprefix(PREFIX).partition(".")
    call = f'forestgaps_core.register("{kind}", "{name}", ...)'
    text = f"; its source text is in {copy}" if copy else ""
    return (
        f"the {kind} {name!r} was registered in a Python session: define it and call {call}, or give a file that offers it with -p"
        f"{text}"
    )
