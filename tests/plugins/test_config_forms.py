"""Functions, classes and frozen dataclasses as components: read as strictly as attrs classes, explained and built alike."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
import torch
from attrs import field, frozen
from attrs.validators import ge, gt, lt
from torch import nn

from forestgaps_core import Component, load_config, make_config, resume_training, train_model
from forestgaps_core.config.converter import structure_config, unstructure
from forestgaps_core.config.explain import explain_topic
from forestgaps_core.config.reading import read_config
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.kinds import KINDS, Kind
from forestgaps_core.plugins.config_forms import make_config_class, split_docstring
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing import build_component, check_loss, example_batch, example_logits
from forestgaps_core.testing.plugin_checks import check_plugin

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE

if TYPE_CHECKING:
    from torch import Tensor

    from forestgaps_core import Batch

AT_TOP = {"data": {"name": "hills"}, "model": {"name": "net"}}


class Reduction(Enum):
    MEAN = "mean"
    SUM = "sum"


@dataclass(frozen=True)
class Band:
    """Heights.

    Attributes:
        low: Lower end, meters.
        high: Upper end, meters.
    """

    low: Annotated[float, ge(0)] = 0.0
    high: float = 5.0
    maps: Path | None = None

    def __post_init__(self) -> None:
        if self.high <= self.low:
            raise ValueError("high must be above low")


def power(
    logits: Tensor,
    batch: Batch,
    thresholds: tuple[float, ...],
    *,
    exponent: Annotated[float, gt(0), lt(9)] = 2.0,
    count: int = 3,
    on: bool = False,
    mode: Literal["a", "b"] = "a",
    reduction: Reduction = Reduction.MEAN,
    pair: tuple[int, float] = (1, 0.5),
    folder: Path | None = None,
    band: Band | None = None,
    weights: Mapping[str, float] | None = None,
) -> Tensor:
    """A power of the difference between probability and target.

    Args:
        logits: (B, K, H, W).
        exponent: Of the difference; above 1 it
            grows faster for large ones.
        count (int): Any.
        on: Any.
        mode: Any.
        reduction: Any.
        pair: Any.
        folder: Any.
        band: Any.
        weights: Any.

    Source: nobody
    """
    cost = (logits.sigmoid() - batch.target).abs() ** exponent * batch.valid
    return cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)


power.outputs = ("encoder",)  # type: ignore[attr-defined]


class PowerModule(nn.Module):
    """The same as a module.

    Args:
        exponent: Of the difference.
    """

    def __init__(self, gap_fraction: Any, *, exponent: Annotated[float, gt(0)] = 2.0) -> None:
        super().__init__()
        self.exponent, self.shares = exponent, gap_fraction()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.scale * power(logits, batch, (), exponent=self.exponent)


@dataclass(frozen=True)
class PowerDataclass:
    """The same as a dataclass."""

    exponent: Annotated[float, gt(0)] = dataclasses.field(default=2.0, metadata={"help": "Of the difference."})
    band: Band = dataclasses.field(default=Band(), metadata={"help": "Not used."})

    def build(self) -> Any:
        return functools.partial(power, thresholds=(), exponent=self.exponent)


@frozen(kw_only=True)
class PowerAttrs:
    """The same as an attrs class."""

    exponent: float = field(default=2.0, validator=gt(0), metadata={"help": "Of the difference."})

    def build(self) -> Any:
        return functools.partial(power, thresholds=(), exponent=self.exponent)


def undescribed(logits: Tensor, batch: Batch, *, exponent: float = 2.0) -> Tensor:
    """No word on its setting."""
    return power(logits, batch, (), exponent=exponent)


class Twice(nn.Module):
    """Twice another loss.

    Args:
        inner: The other loss.
    """

    def __init__(self, build_inner: Any, *, inner: Component["loss"]) -> None:  # noqa: F821, UP037  # the name of a kind
        super().__init__()
        self.inner = build_inner(inner)

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return 2 * self.inner(logits, batch)


FORMS = {
    "function": power,
    "module": PowerModule,
    "dataclass": PowerDataclass,
    "attrs": PowerAttrs,
}


@pytest.fixture
def offered(site) -> Any:
    """Plugins with these losses; the example plugin has the other components of a run."""
    table = {name: f"{__name__}:{found.__name__}" for name, found in {**FORMS, "undescribed": undescribed, "twice": Twice}.items()}
    site("t-forms", f"from forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_losses():\n    return {table}")
    plugins = Plugins.discover()
    plugins.add_file(EXAMPLE_PLUGIN)
    return plugins


def config_class(found: Any, kind: str = "loss") -> Any:
    return make_config_class(found, kind, KINDS[kind])


# --- strictness -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"exponnt": 2}, "loss.exponnt: unknown key (did you mean 'exponent'?)"),
        ({"exponent": "2"}, "loss.exponent: found '2', expected a number"),
        ({"exponent": True}, "loss.exponent: found true, expected a number"),
        ({"exponent": 0}, "loss.exponent: found 0.0; must be > 0"),
        ({"exponent": float("nan")}, "loss.exponent: found nan, expected a number"),
    ],
)
def test_every_form_is_read_as_strictly(offered, form, settings, problem):
    with pytest.raises(ConfigError) as error:
        read_config({**AT_TOP, "loss": {"name": form, **settings}}, offered)
    (found,) = error.value.problems
    assert found.startswith(problem)


def test_all_mistakes_of_a_function_are_reported_with_their_places(offered):
    table = {
        "count": 7.9,
        "on": "false",
        "mode": "c",
        "reduction": "max",
        "pair": [1, 0.5, 2],
        "folder": 3,
        "band": {"low": -1, "hihg": 2},
        "weights": {"a": "b"},
        "exponent": 9,
    }
    with pytest.raises(ConfigError) as error:
        read_config({**AT_TOP, "loss": {"name": "function", **table}}, offered)
    assert list(error.value.problems) == [
        "loss.band.hihg: unknown key (did you mean 'high'?); there is: low, high, maps",
        "loss.band.low: found -1.0; must be >= 0",
        "loss.count: found 7.9, expected a whole number",
        "loss.exponent: found 9.0; must be < 9",
        "loss.folder: found 3, expected a path (text)",
        "loss.mode: found 'c', expected one of 'a', 'b'",
        "loss.on: found 'false', expected true or false",
        "loss.pair: found [1, 0.5, 2], expected a list of 2",
        "loss.reduction: found 'max', expected one of 'mean', 'sum' (did you mean 'mean'?)",
        "loss.weights.a: found 'b', expected a number",
    ]


def test_a_fixed_tuple_is_read_by_place():
    config, problems = structure_config({"pair": [0.5, 1]}, config_class(power), ("loss",))
    assert (config, problems) == (None, ["loss.pair[0]: found 0.5, expected a whole number"])


def test_what_a_dataclass_itself_requires_is_a_mistake_with_its_place():
    config, problems = structure_config({"band": {"low": 6}}, config_class(PowerDataclass), ("loss",))
    assert (config, problems) == (None, ["loss.band: high must be above low"])


def test_a_setting_without_default_is_missed():
    def loss(logits, batch, *, alpha: float):
        """A loss.

        Args:
            alpha: Weight of gaps.
        """

    _, problems = structure_config({}, config_class(loss), ("loss",))
    assert problems == ["loss.alpha: is missing: Weight of gaps."]


# --- from a run file to a component ---------------------------------------------------------------------------------


def test_values_arrive_as_they_are_annotated(offered, tmp_path):
    table = {"pair": [3, 1], "reduction": "sum", "folder": "maps", "band": {"high": 7, "maps": "inner"}, "weights": {"a": 1}}
    config = read_config({**AT_TOP, "loss": {"name": "function", **table}}, offered, folder=tmp_path)
    loss = build_component("loss", config.loss, thresholds=(1.0, 2.0))
    given = loss.keywords
    assert (given["thresholds"], given["pair"], given["reduction"]) == ((1.0, 2.0), (3, 1.0), Reduction.SUM)
    assert given["band"] == Band(high=7.0, maps=tmp_path / "inner")
    assert (given["folder"], given["weights"], given["exponent"]) == (tmp_path / "maps", {"a": 1.0}, 2.0)
    assert unstructure(config.loss)["band"] == {"low": 0.0, "high": 7.0, "maps": (tmp_path / "inner").as_posix()}
    assert loss.outputs == ("encoder",)  # what the function declares


@pytest.mark.parametrize("form", FORMS)
def test_every_form_builds_the_same_loss(form):
    config = config_class(FORMS[form])(exponent=3.0)
    batch = example_batch()
    logits = example_logits(batch)
    assert torch.equal(build_component("loss", config)(logits, batch), power(logits, batch, (), exponent=3.0))
    check_loss(config)
    check_loss(FORMS[form]() if form in ("dataclass", "attrs") else FORMS[form])


def test_a_config_of_a_function_can_be_compared_copied_and_pickled():
    config = make_config("loss", power, exponent=3.0, band=Band(high=2.0))
    assert config == make_config("loss", power, exponent=3.0, band=Band(high=2.0)) != make_config("loss", power)
    assert pickle.loads(pickle.dumps(config)) == config == copy.deepcopy(config)
    with pytest.raises(AttributeError):
        config.exponent = 4.0
    with pytest.raises(ValueError, match="must be > 0"):
        make_config("loss", power, exponent=-1.0)
    with pytest.raises(PluginError, match=r"no kind of components named 'lost' \(did you mean 'loss'\?\)"):
        make_config("lost", power)


def test_settings_are_explained_with_defaults_limits_and_help(offered):
    text = explain_topic("loss.function", offered)
    assert "A power of the difference between probability and target.\n\nSource: nobody" in text
    assert "exponent = 2.0  # float, > 0, < 9\n    Of the difference; above 1 it grows faster for large ones." in text
    assert "reduction = 'mean'" in text
    assert "band.low = 0.0  # float, >= 0\n    Lower end, meters." in text
    assert "logits" not in text
    assert "exponent = 2.0  # float, > 0\n    Of the difference." in explain_topic("loss.module", offered)
    assert "band  # a table of its own\n" in explain_topic("loss.dataclass", offered)
    assert "loss.function  A power of the difference" in explain_topic("loss", offered)


def test_plugins_check_holds_every_form_to_its_contract(offered):
    (plugin,) = [plugin for plugin in offered.records if plugin.distribution == "t-forms"]
    found = {verdict.place: str(verdict) for verdict in check_plugin(offered, plugin)}
    assert [name for name, words in found.items() if not words.endswith("right")] == ["loss.twice", "loss.undescribed"]
    assert "which needs inner" in found["loss.twice"]
    assert "exponent has no metadata={'help': ...}; for a dataclass, function or another class" in found["loss.undescribed"]


def test_functions_are_components_of_every_kind_that_is_called_and_build_those_of_the_others():
    def falling(step: int, total_steps: int, *, to: float = 0.0) -> float:
        return 1 - (1 - to) * step / total_steps

    def turned(tiles: Any) -> Any:
        return tiles

    def layer(channels: int, batch_per_device: int, *, groups: int = 2) -> nn.Module:
        return nn.GroupNorm(min(groups, batch_per_device), channels)

    def sgd(modules: list[nn.Module], *, rate: float = 0.1) -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": list(module.parameters())} for module in modules], lr=rate)

    class Stop:
        def __init__(self, label: str, *, patience: int = 3) -> None:
            self.label, self.patience = label, patience

    turned.changes = ("place",)  # type: ignore[attr-defined]
    assert build_component("scheduler", make_config("scheduler", falling, to=0.5), total_steps=10)(5) == 0.75
    config = make_config("augmentations", turned)
    assert (config.changes, build_component("augmentations", config)(1)) == (("place",), 1)
    assert build_component("normalization", make_config("normalization", layer), batch_per_device=1)(4).num_groups == 1
    optimizer = build_component("optimizer", make_config("optimizer", sgd, rate=0.5), modules=[nn.Linear(1, 1)])
    assert optimizer.param_groups[0]["lr"] == 0.5
    stops = [build_component("callbacks", make_config("callbacks", Stop, patience=1), label="halt") for _ in range(2)]
    assert (stops[0].label, stops[0].patience, stops[0] is stops[1]) == ("halt", 1, False)


def test_a_plugins_kind_says_whether_its_functions_are_called():
    def twice(value: int, *, factor: int = 2) -> int:
        return value * factor

    called = make_config_class(twice, "filter", Kind("a filter", calls=("value",)))()
    assert called.build()(4) == 8
    made = make_config_class(twice, "filter", Kind("a filter", {"value": "any"}))()
    assert made.build(value=4) == 8


def test_a_class_may_contain_other_components(offered):
    config = read_config({**AT_TOP, "loss": {"name": "twice", "inner": {"name": "function", "exponent": 3}}}, offered)
    assert config.loss.inner == make_config("loss", power, exponent=3.0)
    batch = example_batch()
    logits = example_logits(batch)
    loss = build_component("loss", config.loss)
    assert torch.equal(loss(logits, batch), 2 * power(logits, batch, (), exponent=3.0))
    with pytest.raises(ConfigError, match=r"loss.inner.exponent: found 0.0; must be > 0"):
        read_config({**AT_TOP, "loss": {"name": "twice", "inner": {"name": "function", "exponent": 0}}}, offered)


def test_a_loss_that_is_a_function_may_take_a_context():
    def loss(logits, batch, context=None, *, alpha: float = 1.0):
        return context

    def required(logits, batch, *, context, alpha: float = 1.0):
        return context

    assert [build_component("loss", make_config("loss", one))(0, 0, context=5) for one in (loss, required)] == [5, 5]


def test_a_run_of_functions_and_classes_is_trained_recorded_and_resumed(site, tmp_path):
    table = {"power": f"{__name__}:power", "module": f"{__name__}:PowerModule", "dataclass": f"{__name__}:PowerDataclass"}
    site("t-forms", f"from forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_losses():\n    return {table}")
    plugins = Plugins.discover()
    plugins.add_file(EXAMPLE_PLUGIN)
    (tmp_path / "run.toml").write_text(RUN_FILE.replace("epochs = 3", "epochs = 1"))
    for name in table:
        config = load_config(tmp_path / "run.toml", overrides=[f"loss.name={name}", "loss.exponent=3"], plugins=plugins)
        train_model(config, tmp_path / name, plugins=plugins)
        again = load_config(tmp_path / name / "run.toml", plugins=plugins)
        assert again == config
        assert again.names["loss"] == f"t-forms:{name}"
        assert resume_training(tmp_path / name, plugins=plugins).epoch == 1


# --- what cannot be read --------------------------------------------------------------------------------------------


def hidden(logits, batch, **settings):
    pass


def many(logits, batch, *others, alpha: float = 1.0):
    pass


def early(logits, batch, alpha: float = 1.0):
    pass


def unhinted(logits, batch, *, alpha=1.0):
    pass


def misplaced(logits, batch, *, gap_fraction):
    pass


def shared(logits, batch, *, levels: list[float] = [1.0]):  # noqa: B006
    pass


def named(logits, batch, *, name: str = "a"):
    pass


def itself(logits, batch, *, self: int = 1):
    pass


def unread(logits, batch, *, value: Unknown = None):  # type: ignore[name-defined]  # noqa: F821
    pass


def inside(logits, batch, *, value: Annotated[float, gt(0)] | None = None):
    pass


def described(logits, batch, *, value: Annotated[float, "positive"] = 1.0):
    pass


@dataclass(frozen=True)
class Extra:
    a: int = 1
    b: dataclasses.InitVar[int] = 2

    def build(self):
        pass


@frozen
class NamedAttrs:
    name: str = ""

    def build(self):
        pass


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (itself, "has a setting 'self', which is the config itself; rename it"),
        (hidden, "takes **settings, which hides its settings; name each of them after a *"),
        (many, "takes *others, which hides its settings"),
        (
            early,
            "takes 'alpha' before the *, which a loss is not given; there is: thresholds, gap_fraction, context. "
            "Write settings after the *, as in (..., *, alpha: float = 1.0)",
        ),
        (unhinted, "has a setting 'alpha' without a type hint, so that no value can be checked"),
        (misplaced, "; to be given function that returns the gap fraction"),
        (shared, "has a setting 'levels' whose default is a list, which calls would share; use a tuple or None"),
        (named, "has a setting 'name', which chooses the component in a run file; rename it"),
        (NamedAttrs, "has a setting 'name', which chooses the component in a run file; rename it"),
        (unread, "has an annotation that cannot be read (NameError: name 'Unknown' is not defined)"),
        (inside, "has Annotated inside the type hint of 'value'; write it around the whole hint"),
        (described, "annotates 'value' with 'positive', expected validators of attrs, such as gt(0)"),
        (Extra, "takes 'b', which is not a field; make it one"),
        (lambda: 3, "takes () before its settings; a loss is called with (logits, batch)"),
        (functools.partial(power), "is an object of type partial, expected a function, a class, or"),
        (7, "is an object of type int, expected a function, a class, or"),
        (dict, "has no signature that can be read"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(found, words):
    with pytest.raises(PluginError) as error:
        config_class(found)
    assert words in str(error.value)


def test_the_sections_of_a_docstring_on_parameters_are_taken_apart():
    text = """Says one.

    More.

    Args:
        a: First: with a colon.
            And more.

        b (int): Second.

    Returns:
        c: not a parameter
    """
    assert split_docstring(text) == (
        "Says one.\n\nMore.\n\nReturns:\n    c: not a parameter",
        {"a": "First: with a colon. And more.", "b": "Second."},
    )
    assert split_docstring(None) == ("", {})


@pytest.mark.parametrize("default", ["abc", float("nan"), True])
def test_a_default_that_a_run_folder_could_not_give_again_is_refused(default):
    def costly(logits, batch, *, miss: float = default):
        return logits.sum()

    _, mistakes = structure_config({}, make_config_class(costly, "loss", KINDS["loss"]), ("loss",))
    assert len(mistakes) == 1
    assert mistakes[0].startswith("loss.miss: its default: found")
