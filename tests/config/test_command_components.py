"""Components that an option chooses, with `--set NAME.KEY=VALUE`."""

from __future__ import annotations

import pytest

from forestgaps_core.config.command_components import choose_components
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.plugins.registry import Plugins

OFFERS = """
from attrs import field, frozen
from attrs.validators import ge
from forestgaps_core import hookimpl

@hookimpl
def forestgaps_exporters():
    return {"plain": "MODULE:Plain", "broken": "MODULE:Broken", "empty": "MODULE:Empty"}

@frozen(kw_only=True)
class Plain:
    '''Plain.'''
    digits: int = field(default=6, validator=ge(1), metadata={"help": "Digits."})
    def build(self):
        return lambda network, source: self.digits

@frozen(kw_only=True)
class Broken:
    '''Broken.'''
    def build(self):
        raise OSError("no license")

@frozen(kw_only=True)
class Empty:
    '''Builds nothing.'''
    def build(self):
        return None
"""


@pytest.fixture
def plugins(site):
    site("t-one", OFFERS)
    return Plugins.discover()


def test_settings_are_read_strictly_and_all_mistakes_are_reported(plugins):
    (chosen,) = choose_components("exporter", ["plain"], ["plain.digits=3"], plugins, command="export")
    assert chosen.config.digits == 3
    assert chosen.build()(None, None) == 3
    assert chosen.describe() == {"name": "t-one:plain", "version": "1.0", "settings": {"digits": 3}}
    with pytest.raises(ConfigError) as raised:
        choose_components(
            "exporter", ["plain", "plain", "gone"], ["plain.digits=0.5", "plain.name=x", "plin.a=1"], plugins, command="export"
        )
    assert raised.value.problems[0].startswith("plain.digits: found 0.5, expected a whole number")
    text = str(raised.value)
    for sentence in (
        "plain.name: unknown key",
        "plain is named twice; name each exporter once",
        "no exporter named 'gone'",
        "--set plin: --to plin is not chosen (did you mean 'plain'?)",
    ):
        assert sentence in text
    with pytest.raises(ConfigError, match=r"write table\.key=value"):
        choose_components("exporter", ["plain"], ["plain"], plugins, command="export")


def test_two_packages_with_one_name_are_distinguished(site, plugins):
    site("t-two", OFFERS)
    plugins = Plugins.discover()
    with pytest.raises(ConfigError, match="choose with --to t-one:plain or --to t-two:plain"):
        choose_components("exporter", ["plain"], [], plugins, command="export")
    (chosen,) = choose_components("exporter", ["t-two:plain"], ["plain.digits=2"], plugins, command="export")
    assert (chosen.component.full_name, chosen.config.digits) == ("t-two:plain", 2)
    assert any("exporter.plain is offered by t-one 1.0 and t-two 1.0" in sentence for sentence in plugins.clashes())


def test_a_component_that_cannot_be_built_is_named(plugins):
    broken, empty = choose_components("exporter", ["broken", "empty"], [], plugins, command="export")
    with pytest.raises(PluginError, match=r"the exporter 'broken' of t-one 1\.0 failed: OSError: no license"):
        broken.build()
    with pytest.raises(PluginError, match="made nothing"):
        empty.build()
