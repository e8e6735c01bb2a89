"""Components inside components in a run: built through `forestgaps_build`, checked, recorded, and resumed with the same bits."""

from __future__ import annotations

import logging

import pytest
import torch

from forestgaps_core import PluginError, load_config, load_predictor, resume_training, save_network, train_model
from forestgaps_core.errors import ConfigError
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.settings import list_inner_components

from ..conftest import EXAMPLE_PLUGIN, default_plugins

ENCODERS = '''
from attrs import field, frozen
from torch import nn

from forestgaps_core import Component, Kind, hookimpl


@hookimpl
def forestgaps_kinds():
    return {"encoder": Kind("a module that returns features", {"channels": "of the input"}, table=False)}


@frozen(kw_only=True)
class Plain:
    """One convolution."""

    features: int = field(default=4, metadata={"help": "Channels of the result.", "renamed_from": "width", "renamed_since": "2"})

    def build(self, channels):
        return nn.Conv2d(channels, self.features, 3, padding=1)


class Network(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.last = encoder, nn.Conv2d(4, 1, 1)

    def forward(self, dsm, valid, thresholds):
        features = self.encoder(dsm - dsm.mean((2, 3), keepdim=True))
        return self.last(features).float() + 0 * thresholds[:, :, None, None]


@frozen(kw_only=True)
class Encoded:
    """A network around an encoder."""

    encoder: Component["encoder"] = field(metadata={"help": "What finds the features."})

    def build(self, build_inner):
        return Network(build_inner(self.encoder, channels=1))


@hookimpl
def forestgaps_components():
    return {"encoder": {"plain": Plain}}


@hookimpl
def forestgaps_models():
    return {"encoded": Encoded}
'''
WRAPS = """
from torch import nn
from forestgaps_core import hookimpl

@hookimpl(wrapper=True)
def forestgaps_build(kind, name, context):
    built = yield
    return nn.Sequential(built, nn.ReLU()) if kind == "encoder" else built
"""
CLASS = '''
from attrs import field, frozen
from forestgaps_core import Component, hookimpl

@frozen(kw_only=True)
class Around:
    """A loss in a loss."""

    inner: Component["loss"] = field(metadata={"help": "The loss."})

    def build(self, build_inner):
        return BODY

@hookimpl
def forestgaps_losses():
    return {"around": Around}
'''


@pytest.fixture
def make_plugins(tmp_path):
    def make(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        return default_plugins(EXAMPLE_PLUGIN, *(tmp_path / f"{name}.py" for name in files))

    return make


def load(run_file, plugins, *changes):
    return load_config(run_file, overrides=changes, plugins=plugins)


ENCODED = 'model={name = "encoded", encoder = {name = "plain"}}'


def test_an_encoder_of_a_kind_of_its_own_is_built_inside_a_network(run_file, make_plugins, tmp_path):
    plugins = make_plugins(encoders=ENCODERS, wraps=WRAPS)
    train_model(load(run_file, plugins, ENCODED), tmp_path / "run", plugins=plugins)
    components = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")["about"]["components"]
    assert components["model.encoder"]["name"] == "plain"
    assert list(components["model.encoder"]["altered_by"]) == ["wraps.py"]
    assert "altered_by" not in components["model"]
    folder = save_network(tmp_path / "run", tmp_path / "network", plugins=plugins)
    question = (torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16, dtype=torch.bool))
    first, second = (load_predictor(place, device="cpu", plugins=plugins)(*question) for place in (tmp_path / "run", folder))
    assert torch.equal(first, second)
    with pytest.raises(PluginError, match=r"wraps\.py"):
        resume_training(tmp_path / "run", plugins=make_plugins(encoders=ENCODERS))


def test_a_renamed_setting_inside_a_component_works_and_is_reported(run_file, make_plugins, caplog):
    plugins = make_plugins(encoders=ENCODERS)
    with caplog.at_level(logging.WARNING):
        config = load(run_file, plugins, 'model={name = "encoded", encoder = {name = "plain", width = 3}}')
    assert config.model.encoder.features == 3
    assert "the setting 'width' of Plain was renamed to 'features' in version 2; use the new name" in caplog.text
    with pytest.raises(ConfigError) as caught:
        load(run_file, plugins, 'model={name = "encoded", encoder = {name = "plain", width = "x"}}')
    assert list(caught.value.problems) == ["model.encoder.width: found 'x', expected a whole number"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("build_inner(Around(inner=self.inner))", r"loss: build_inner got .* not a component inside; there is: loss\.inner"),
        ("build_inner(3)", r"loss: build_inner got 3, which is not a component inside; there is: loss\.inner"),
        ("3", r"loss .*Around .*made a int, expected a `Loss`"),
    ],
)
def test_a_component_that_builds_something_else_is_named(run_file, make_plugins, tmp_path, body, sentence):
    plugins = make_plugins(around=CLASS.replace("BODY", body))
    config = load(run_file, plugins, 'loss={name = "around", inner = {name = "binary"}}')
    with pytest.raises(PluginError, match=sentence):
        train_model(config, tmp_path / "run", plugins=plugins)
    assert not (tmp_path / "run").exists()


def test_a_part_that_fails_is_named_instead_of_what_contains_it(run_file, make_plugins, tmp_path):
    broken = CLASS.replace("Around", "Broken").replace('"around"', '"broken"').replace("BODY", "1 / 0")
    plugins = make_plugins(around=CLASS.replace("BODY", "build_inner(self.inner)"), broken=broken)
    config = load(run_file, plugins, 'loss={name = "around", inner = {name = "broken", inner = {name = "binary"}}}')
    with pytest.raises(PluginError, match=r"loss .*Broken .*failed: ZeroDivisionError"):
        train_model(config, tmp_path / "run", plugins=plugins)


def test_a_config_that_contains_itself_is_refused(make_plugins):
    outer = make_plugins(around=CLASS).component("loss", "around").load()
    config = outer(inner=None)
    object.__setattr__(config, "inner", config)
    with pytest.raises(ConfigError, match=r"loss\.inner\.inner.*\.inner: components in one another, more than 32 deep"):
        list(list_inner_components(config, "loss"))
