"""Record which plugins alter what is built: those whose `forestgaps_build` returns another object than it received.

The record goes into checkpoints, so that a run folder tells who made its parts, and into the messages of errors.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pluggy

from forestgaps_core.errors import PluginError
from forestgaps_core.kinds import BuildContext
from forestgaps_core.plugins.names import Plugin, format_error

BUILD_HOOK = "forestgaps_build"


def trace_builds(manager: pluggy.PluginManager, module: object, plugin: Plugin, running: list[BuildContext]) -> None:
    """Let a plugin's implementation of the build hook note in the context of the running build what it alters.

    Args:
        running: Contexts of the builds that are being made, the innermost last.

    Raises:
        PluginError: It is a wrapper of the old form, whose exceptions pluggy hides.
    """
    for implementation in getattr(manager.hook, BUILD_HOOK).get_hookimpls():
        if implementation.plugin is not module:
            continue
        if implementation.hookwrapper:
            raise PluginError(f"{BUILD_HOOK} has hookwrapper=True; use wrapper=True")
        trace = trace_wrapper if implementation.wrapper else trace_replacement
        implementation.function = trace(implementation.function, plugin, running)


def trace_replacement(function: Callable[..., Any], plugin: Plugin, running: list[BuildContext]) -> Callable[..., Any]:
    def traced(*arguments: Any) -> Any:
        context = running[-1]
        try:
            built = function(*arguments)
        except Exception as error:
            raise name_failure(error, plugin, context) from error
        if built is not None:
            context.altered_by[plugin.distribution] = plugin.version
        return built

    return traced


def trace_wrapper(function: Callable[..., Any], plugin: Plugin, running: list[BuildContext]) -> Callable[..., Any]:
    def traced(*arguments: Any) -> Generator[None, Any, Any]:
        context, received = running[-1], None
        passing: BaseException | None = None  # an error of what is wrapped, which is not the wrapper's
        try:
            wrapper = function(*arguments)
            next(wrapper)
            try:
                received = yield
            except BaseException as error:
                passing = error
                wrapper.throw(error)
            else:
                wrapper.send(received)
            raise PluginError("it has more than one yield")
        except StopIteration as end:
            built = end.value
        except Exception as error:
            if error is passing:
                raise
            raise name_failure(error, plugin, context) from error
        if built is not received:
            context.altered_by[plugin.distribution] = plugin.version
        return built

    return traced


def name_failure(error: Exception, plugin: Plugin, context: BuildContext) -> Exception:
    if isinstance(error, MemoryError):
        return error
    return PluginError(f"{context.place}: {plugin}, whose {BUILD_HOOK} was called, failed: {format_error(error)}")
