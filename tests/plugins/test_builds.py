"""The build hook: who may wrap or replace what is built, and what is recorded of it."""

from __future__ import annotations

import pytest

from forestgaps_core.errors import PluginError
from forestgaps_core.kinds import BuildContext
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing.plugin_checks import check_plugin

HOOK = """
from forestgaps_core import hookimpl

@hookimpl(OPTIONS)
def forestgaps_build(kind, name, config, context):
    BODY
"""
WRAPS = HOOK.replace("OPTIONS", "wrapper=True")


class Settings:
    def build(self, seed):
        return [seed]


def build(plugins, kind="loss", config=None):
    context = BuildContext(kind, {"seed": lambda: 3})
    return plugins.build(kind, "t-good:mine", config or Settings(), context), context


def test_without_such_plugins_the_core_calls_build():
    built, context = build(Plugins())
    assert (built, context.altered_by, Plugins().list_altering()) == ([3], {}, [])


@pytest.mark.parametrize(
    ("source", "expected", "altered"),
    [
        (WRAPS.replace("BODY", "built = yield; return [name, *built]"), ["t-good:mine", 3], True),
        (WRAPS.replace("BODY", "return (yield)"), [3], False),
        (HOOK.replace("OPTIONS", "tryfirst=True").replace("BODY", "return [kind]"), ["loss"], True),
        (HOOK.replace("OPTIONS", "").replace("BODY", "return [context.arguments['seed']() + 1]"), [4], True),
        (HOOK.replace("OPTIONS", "tryfirst=True").replace("BODY", "return None"), [3], False),
    ],
)
def test_a_plugin_wraps_or_replaces_and_is_recorded_if_it_makes_another_object(site, source, expected, altered):
    site("t-hook", source)
    plugins = Plugins.discover()
    built, context = build(plugins)
    assert built == expected
    assert context.altered_by == ({"t-hook": "1.0"} if altered else {})
    assert [plugin.distribution for plugin in plugins.list_altering()] == ["t-hook"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (WRAPS.replace("BODY", "built = yield; raise ValueError('full moon')"), "failed: ValueError: full moon"),
        (WRAPS.replace("BODY", "raise ValueError('before'); yield"), "failed: ValueError: before"),
        (WRAPS.replace("BODY", "built = yield; yield built"), "failed: it has more than one yield"),
        (HOOK.replace("OPTIONS", "tryfirst=True").replace("BODY", "return {}['gone']"), "failed: KeyError: 'gone'"),
    ],
)
def test_the_error_of_a_wrapper_names_its_package_and_the_place(site, source, reason):
    site("t-hook", source)
    with pytest.raises(PluginError, match=rf"loss: t-hook 1\.0, whose forestgaps_build was called, {reason}"):
        build(Plugins.discover())


def test_an_error_of_what_is_wrapped_passes_and_may_be_handled(site):
    class Failing:
        def build(self):
            raise ValueError("mine")

    site("t-hook", WRAPS.replace("BODY", "return (yield)"))
    with pytest.raises(ValueError, match="mine"):
        build(Plugins.discover(), config=Failing())
    site("t-saves", WRAPS.replace("BODY", "\n    try:\n        return (yield)\n    except ValueError:\n        return [0]"))
    built, context = build(Plugins.discover(), config=Failing())
    assert (built, context.altered_by) == ([0], {"t-saves": "1.0"})


def test_a_wrapper_of_the_old_form_is_refused(site):
    site("t-hook", HOOK.replace("OPTIONS", "hookwrapper=True").replace("BODY", "yield"))
    plugins = Plugins.discover()
    (broken,) = [plugin for plugin in plugins.records if plugin.distribution == "t-hook"]
    assert (broken.failed, broken.reason) == ("hooks", "forestgaps_build has hookwrapper=True; use wrapper=True")
    assert build(plugins)[0] == [3]


def test_check_lists_the_hook(site):
    site("t-hook", WRAPS.replace("BODY", "return (yield)"))
    plugins = Plugins.discover()
    (plugin,) = plugins.list_altering()
    assert "forestgaps_build: not checked: what it alters, which depends on the run" in map(str, check_plugin(plugins, plugin))
