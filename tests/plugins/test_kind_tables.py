"""Kinds that plugins declare, and the components offered for them."""

from __future__ import annotations

import attrs
import pytest
import torch

from forestgaps_core.config.explain import explain_topic
from forestgaps_core.config.reading import read_config
from forestgaps_core.config.run_file import SECTIONS, Config
from forestgaps_core.config.writing import make_table
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.kind_tables import RESERVED
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing import build_component
from forestgaps_core.testing.plugin_checks import check_plugin

DECLARES = """
from forestgaps_core import Kind, hookimpl

@hookimpl
def forestgaps_kinds():
    return {NAME: Kind(KIND)}
"""
OFFERS = """
from attrs import field, frozen
from forestgaps_core import hookimpl

@hookimpl
def forestgaps_components():
    return {"teacher": {"constant": "MODULE:Constant"}}

@hookimpl
def forestgaps_losses():
    return {"distilled": "MODULE:Distilled"}

@frozen(kw_only=True)
class Constant:
    '''A teacher that gives one value.'''
    value: float = field(default=0.5, metadata={"help": "The value."})
    def build(self, seed):
        return lambda batch: self.value + seed

@frozen(kw_only=True)
class Distilled:
    '''Asks a teacher.'''
    def build(self, teacher):
        return lambda logits, batch: (logits - teacher(batch)).square().mean()

def require_number(config):
    assert config.value < 1, "the value is 1 or more"
"""


def declare(name="teacher", kind='"a function of a batch", {"seed": "the seed"}, check="t_offers:require_number"'):
    return DECLARES.replace("NAME", repr(name)).replace("KIND", kind)


def record(plugins, name):
    return next(plugin for plugin in plugins.records if plugin.distribution == name)


@pytest.mark.parametrize("names", [("t-a-kind", "t-offers"), ("t-z-kind", "t-offers")], ids=["kind first", "kind last"])
def test_a_kind_of_a_plugin_has_components_whatever_is_loaded_first(site, names):
    site(names[0], declare())
    site(names[1], OFFERS)
    plugins = Plugins.discover()
    assert plugins.component("teacher", "constant").load()(value=2).value == 2
    assert [*plugins.kinds][: len(KINDS)] == [*KINDS]
    assert str(plugins.further_kinds["teacher"]) == f"{names[0]} 1.0"
    assert all(plugin.failed is None for plugin in plugins.records if plugin.distribution in names)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (declare("loss"), "'loss', which is a kind of the core"),
        (declare("training"), "'training', which has another meaning in run files"),
        (declare("label"), "'label', which has another meaning"),
        (declare("My Kind"), "'My Kind': a name is lower case letters"),
        (declare(kind='"a thing", {"modell": "the network"}'), "'teacher': the core has no argument 'modell'"),
        (declare(kind='"a thing", hook="forestgaps_losses"'), "are listed by forestgaps_components"),
        (declare(kind='"a thing", check="nowhere"'), "the check 'nowhere' is not 'module:function'"),
        (declare(kind='"a thing", default={"name": "x"}, table=False'), "its default is {'name': 'x'}, expected a table"),
        (declare().replace("Kind(", "dict(x="), "SyntaxError"),
        (declare(kind='""').replace("Kind(", "str("), "'teacher': found '', expected a Kind"),
        (
            OFFERS.replace("teacher", "teachers"),
            "the kind 'teachers', which no installed plugin declares (did you mean 'teacher'?)",
        ),
        (OFFERS.replace('"teacher": {', '"loss": {'), "those are listed by forestgaps_losses"),
        (OFFERS.replace('{"constant": "MODULE:Constant"}', "3"), "expected {kind: {name: target}}"),
    ],
)
def test_a_wrong_declaration_is_recorded_and_the_others_work(site, source, reason):
    site("t-wrong", source)
    site("t-kind", declare())
    site("t-offers", OFFERS)
    plugins = Plugins.discover()
    assert "constant" in plugins.components("teacher")
    assert reason in record(plugins, "t-wrong").reason
    assert record(plugins, "t-kind").failed is None


def test_a_kind_declared_twice_can_be_used_by_none_and_names_both(site):
    for name in ("t-one", "t-two"):
        site(name, declare() + OFFERS.replace("from forestgaps_core import hookimpl", ""))
    plugins = Plugins.discover()
    sentence = "the kind 'teacher' is declared by t-one 1.0 and t-two 1.0; disable one of them with -p no:t-two"
    for name in ("t-one", "t-two"):
        assert plugins.component("loss", f"{name}:distilled").load()
        assert sentence in record(plugins, name).reason
    with pytest.raises(PluginError, match=sentence):
        plugins.component("teacher", "constant")
    with pytest.raises(ConfigError, match=sentence):
        read_config({"teacher": {"name": "constant"}}, plugins, required=())


def test_a_kind_cannot_have_a_name_with_a_meaning_in_run_files():
    assert {*SECTIONS, *(a.name for a in attrs.fields(Config))} <= RESERVED | KINDS.keys()


def test_a_run_file_has_the_table_and_its_mistakes_keep_their_place(site):
    site("t-kind", declare())
    site("t-offers", OFFERS)
    plugins = Plugins.discover()
    config = read_config({"teacher": {"name": "constant", "value": 2.0}}, plugins, required=())
    assert config.further["teacher"].value == 2.0
    assert config.names["teacher"] == "t-offers:constant"
    with pytest.raises(ConfigError, match=r"teacher\.valu: unknown key \(did you mean 'value'\?\)"):
        read_config({"teacher": {"name": "constant", "valu": 2.0}}, plugins, required=())
    with pytest.raises(ConfigError, match=r"teacher: the table is missing; loss asks for it"):
        read_config({"loss": {"name": "t-offers:distilled"}}, plugins, required=("data", "model", "loss"))


def test_the_default_of_a_kind_is_used_only_where_a_component_asks_for_the_kind(site):
    site("t-kind", declare(kind='"a function", {"seed": "the seed"}, default={"name": "t-offers:constant", "value": 0.25}'))
    site("t-offers", OFFERS)
    plugins = Plugins.discover()
    table = {"data": {"name": "landscapes"}, "model": {"name": "height_unet"}, "loss": {"name": "distilled"}}
    config = read_config(table, plugins)
    assert make_table(config, plugins)["teacher"] == {"name": "t-offers:constant", "value": 0.25}
    assert read_config({**table, "loss": {"name": "bce"}}, plugins).further == {}


def test_a_kind_without_a_table_is_no_table_of_a_run_file(site):
    site("t-kind", declare(kind='"a function", {"anything": "of the component that builds it"}, table=False'))
    plugins = Plugins.discover()
    with pytest.raises(ConfigError, match="teacher: unknown table; teacher have no table of their own"):
        read_config({"teacher": {"name": "constant"}}, plugins, required=())


def test_several_components_of_a_kind_have_labels(site):
    site("t-kind", declare(kind='"a function", {"seed": "the seed"}, several=True'))
    site("t-offers", OFFERS)
    config = read_config({"teacher": {"one": {"name": "constant"}}}, Plugins.discover(), required=())
    assert config.further["teacher"]["one"].value == 0.5


def test_explain_tells_the_kind_and_check_uses_its_function(site):
    site("t-kind", declare())
    site("t-offers", OFFERS)
    plugins = Plugins.discover()
    assert "[teacher]  chosen by name (declared by t-kind 1.0)" in explain_topic("", plugins)
    text = explain_topic("teacher", plugins)
    assert "teacher: a function of a batch (declared by t-kind 1.0)" in text
    assert "teacher.constant  A teacher that gives one value.  (t-offers 1.0)" in text
    assert '[teacher] name = "constant"' in explain_topic("teacher.constant", plugins)
    verdicts = {verdict.place: str(verdict) for verdict in check_plugin(plugins, record(plugins, "t-offers"))}
    assert verdicts["teacher.constant"] == "teacher.constant: right"
    assert "kind teacher: right" in [str(verdict) for verdict in check_plugin(plugins, record(plugins, "t-kind"))]


def test_a_component_that_breaks_the_check_of_its_kind_is_reported(site):
    site("t-kind", declare())
    site("t-offers", OFFERS.replace("default=0.5", "default=1.5"))
    plugins = Plugins.discover()
    found = [
        verdict.problem for verdict in check_plugin(plugins, record(plugins, "t-offers")) if verdict.place == "teacher.constant"
    ]
    assert found == ["the value is 1 or more (require_number)"]


def test_a_loss_that_uses_a_kind_is_built_in_a_test_with_a_part_that_is_given(site):
    site("t-kind", declare())
    site("t-offers", OFFERS)
    plugins = Plugins.discover()
    teacher = build_component("teacher", plugins.component("teacher", "constant").load()())
    loss = build_component("loss", plugins.component("loss", "distilled").load()(), teacher=teacher)
    assert loss(torch.ones(2), None) == 0.25
