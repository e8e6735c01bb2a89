"""Old names of components and of settings."""

from __future__ import annotations

import logging

import pytest

from forestgaps_core.config.reading import read_config
from forestgaps_core.config.writing import make_table
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.plugins import renamed_settings
from forestgaps_core.plugins.provenance import find_full_name
from forestgaps_core.plugins.registry import Plugins

SOURCE = """
from attrs import field, frozen
from attrs.validators import ge
from forestgaps_core import Renamed, hookimpl

@hookimpl
def forestgaps_losses():
    return {"mine": "MODULE:Mine", "ours": Renamed("mine", since="0.5"), "theirs": Renamed("ours"), MORE}

@frozen(kw_only=True)
class Mine:
    gamma: float = field(default=2.0, validator=ge(0), metadata={"renamed_from": "focus", "renamed_since": "0.6", "help": "Gamma."})
    alpha: float = field(default=1.0, metadata={"renamed_from": ["weight", "share"], "help": "Alpha."})
    def build(self):
        return lambda logits, batch: logits.mean()
"""


@pytest.fixture(autouse=True)
def _no_warning_was_printed(monkeypatch):
    monkeypatch.setattr(renamed_settings, "_reported", set())


def install(site, more="", name="t-old"):
    site(name, SOURCE.replace("MORE", more))
    return Plugins.discover()


def read(plugins, **table):
    return read_config({"loss": table}, plugins, required=())


def reason(plugins, name="t-old"):
    return next(plugin.reason for plugin in plugins.records if plugin.distribution == name)


@pytest.mark.parametrize("name", ["ours", "t-old:ours", "theirs"])
def test_the_old_name_of_a_component_works_with_a_warning_and_resolves_to_the_new(site, caplog, name):
    plugins = install(site)
    with caplog.at_level(logging.WARNING, "forestgaps"):
        for _ in range(2):
            config = read(plugins, name=name)
    short = name.removeprefix("t-old:")
    version = " in version t-old 0.5" if short == "ours" else ""
    assert caplog.messages == [f"the loss 't-old:{short}' was renamed to 'mine'{version}; use the new name"]
    assert config.names["loss"] == "t-old:mine"


def test_a_recorded_old_name_is_followed_silently(site, caplog):
    plugins = install(site)
    assert find_full_name("loss", "t-old:ours", None, plugins) == "t-old:mine"
    assert find_full_name("loss", "ours", "t-old", plugins) == "t-old:mine"
    assert caplog.messages == []


def test_old_names_are_not_listed_as_components(site):
    assert "ours" not in install(site).components("loss")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('"a": Renamed("b"), "b": Renamed("a")', "the old name 'b' leads in a circle: b > a > b"),
        ('"a": Renamed("a")', "the old name 'a' leads in a circle: a > a"),
        ('"a": Renamed("min")', "'a' is renamed to 'min', which it does not offer (did you mean 'mine'?)"),
        ('"a": Renamed("Mine!")', "'a': found Renamed(name='Mine!', since=''), expected Renamed(NAME, since=VERSION)"),
    ],
)
def test_an_old_name_that_leads_nowhere_is_recorded_and_the_rest_works(site, more, expected):
    plugins = install(site, more)
    assert read(plugins, name="mine").loss.gamma == 2
    assert reason(plugins).startswith("forestgaps_losses")
    assert expected in reason(plugins)
    with pytest.raises(PluginError, match="no loss named 'a'"):
        plugins.component("loss", "a")


def test_an_old_name_and_a_component_of_one_name_are_a_clash(site):
    install(site)
    site(
        "t-other",
        SOURCE.replace("MORE", "").replace('"mine"', '"ours"', 1).partition(', "ours": Renamed')[0] + "}\n" + "class Mine: ...\n",
    )
    plugins = Plugins.discover()
    with pytest.raises(PluginError, match=r"'ours' is offered by t-other 1\.0 and t-old 1\.0; choose with"):
        plugins.component("loss", "ours")
    assert any(sentence.startswith("loss.ours is offered by t-other 1.0 and t-old 1.0") for sentence in plugins.clashes())
    assert plugins.component("loss", "t-old:ours").name == "mine"


def test_the_old_name_of_a_setting_works_with_a_warning(site, caplog):
    plugins = install(site)
    with caplog.at_level(logging.WARNING, "forestgaps"):
        config = read(plugins, name="mine", focus=3.0, share=0.5)
    assert (config.loss.gamma, config.loss.alpha) == (3.0, 0.5)
    assert caplog.messages == [
        "the setting 'focus' of Mine was renamed to 'gamma' in version 0.6; use the new name",
        "the setting 'share' of Mine was renamed to 'alpha'; use the new name",
    ]


def test_the_resolved_run_file_has_the_new_names(site):
    plugins = install(site)
    table = {"data": {"name": "landscapes"}, "model": {"name": "height_unet"}, "loss": {"name": "ours", "focus": 3.0}}
    assert make_table(read_config(table, plugins), plugins)["loss"] == {"name": "t-old:mine", "gamma": 3.0, "alpha": 1.0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"focus": 1.0, "gamma": 2.0}, "loss.focus: was renamed to gamma, which is there too; remove one of them"),
        ({"focus": -1.0}, "loss.focus: found -1.0; must be >= 0"),
        ({"focus": "x"}, "loss.focus: found 'x', expected a number"),
    ],
)
def test_a_mistake_keeps_the_name_that_is_in_the_file(site, settings, expected):
    with pytest.raises(ConfigError) as raised:
        read(install(site), name="mine", **settings)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("old", "expected"),
    [("gamma", "'alpha' renamed from 'gamma', which is a setting itself"), ("focus", "which is the old name of gamma")],
)
def test_an_old_name_of_a_setting_that_is_taken_is_an_error_of_the_package(site, old, expected):
    site("t-old", SOURCE.replace("MORE", "").replace('["weight", "share"]', repr(old)))
    with pytest.raises(PluginError, match=expected):
        Plugins.discover().component("loss", "mine").load()
