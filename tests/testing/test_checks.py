"""Each rule is a test of its own; failures can be declared, and a declared one that passes is reported."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from attrs import field, frozen

from forestgaps_core.kinds import KINDS, Kind
from forestgaps_core.plugins.names import load_target
from forestgaps_core.testing import check_component, list_checks, parametrize_checks

pytest_plugins = ["pytester"]

RULES = [(kind, rule) for kind, about in KINDS.items() for rule in load_target(about.check, kind)]


@frozen(kw_only=True)
class Leaky:
    """A loss that sees invalid pixels."""

    power: float = field(default=2.0, metadata={"help": "Power."})

    def build(self):
        return lambda logits, batch: (logits.sigmoid() - batch.target).abs().pow(self.power).mean()


@frozen(kw_only=True)
class Number:
    """A component of a plugin's kind."""

    value: int = field(default=1, metadata={"help": "A number."})

    def build(self):
        return self.value


def check_positive(config):
    if config.build() <= 0:  # pytest would add the values to the sentence of an assert in this file
        raise AssertionError("the number is not above 0")


def check_odd(config):
    if config.build() % 2 == 0:
        raise AssertionError("the number is even")


NUMBER_RULES = [check_positive, check_odd]
NUMBERS = {"number": Kind(makes="a number", check=f"{__name__}:NUMBER_RULES")}
INVALID = {
    "gradient_of_invalid_pixels": "it looks at all pixels",
    "invalid_pixels": "it looks at all pixels",
    "no_valid_pixels": "it looks at all pixels",
}


@parametrize_checks("loss", Leaky(), Leaky(power=1.5), expected_failures=INVALID)
def test_a_loss_with_declared_failures(check):
    check()


@parametrize_checks("number", Number(), Number(value=3), known=NUMBERS)
def test_the_rules_of_a_plugins_kind(check):
    check()


def test_every_kind_has_rules_with_names_of_their_own_and_a_sentence():
    assert {kind for kind, _ in RULES} == KINDS.keys()
    for kind, about in KINDS.items():
        names = [check.name for check in list_checks(kind, Leaky())]
        assert len(names) == len(set(names)), kind
        assert len(load_target(about.check, kind)) >= 2, kind
    for _, rule in RULES:
        assert (inspect.getdoc(rule) or "").splitlines()[0].endswith("."), rule


def test_ids_name_config_and_rule():
    mark = parametrize_checks("loss", Leaky(), Leaky(power=1.5)).mark
    ids = [parameter.id for parameter in mark.args[1]]
    assert ids[:2] == ["Leaky-class", "Leaky-frozen"]
    assert "Leaky(power=1.5)-invalid_pixels" in ids


def test_all_broken_rules_are_named_at_once():
    with pytest.raises(AssertionError) as caught:
        check_component("loss", Leaky())
    assert "invalid pixels have a gradient (gradient_of_invalid_pixels); invalid pixels change the loss" in str(caught.value)
    with pytest.raises(AssertionError, match=r"^the number is not above 0 \(positive\); the number is even \(odd\)$"):
        check_component("number", Number(value=-2), known=NUMBERS)


def test_a_sentence_that_several_rules_give_is_written_once():
    @frozen(kw_only=True)
    class NoModule:
        """Builds something else."""

        def build(self):
            return 1

    with pytest.raises(AssertionError, match=r"^a model is an nn.Module \(logits, gradients, .*state\)$"):
        check_component("model", NoModule())


def test_an_error_of_a_component_is_not_hidden():
    @frozen(kw_only=True)
    class Failing:
        """Fails."""

        def build(self):
            raise torch.cuda.OutOfMemoryError("none left")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        check_component("loss", Failing())


def test_arguments_replace_stand_ins():
    @frozen(kw_only=True)
    class Distilled:
        """Needs a component of a plugin's kind."""

        def build(self, teacher):
            return lambda logits, batch: ((logits - teacher(batch)) * batch.valid).square().sum() / batch.valid.sum().clamp(min=1)

    check_component("loss", Distilled(), teacher=lambda batch: batch.target)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("losss", Leaky()), r"kind: no kind 'losss' \(did you mean 'loss'\?\)"),
        (("loss",), "configs: none is given"),
    ],
)
def test_mistakes_are_reported_where_they_are_made(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        parametrize_checks(*arguments)


def test_an_unknown_rule_is_reported_with_the_nearest():
    with pytest.raises(ValueError, match=r"expected_failures: no rule 'invalid_pixel' \(did you mean 'invalid_pixels'\?\)"):
        parametrize_checks("loss", Leaky(), expected_failures={"invalid_pixel": "?"})


AUTHOR = '''
from attrs import frozen
from forestgaps_core.testing import parametrize_checks

@frozen(kw_only=True)
class Right:
    """Mean distance over valid pixels."""
    def build(self):
        return lambda logits, batch: (
            (logits.sigmoid() - batch.target).abs() * batch.valid
        ).sum() / batch.valid.expand_as(logits).sum().clamp(min=1)

@parametrize_checks("loss", Right(), expected_failures={"sample_order": "declared, but not true"})
def test_contract(check):
    check()
'''


def test_a_declared_failure_that_passes_is_reported(pytester: pytest.Pytester, tmp_path: Path):
    pytester.makepyfile(AUTHOR)
    result = pytester.runpytest_inprocess("-q", "-p", "no:randomly", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=11, failed=1)
    result.stdout.fnmatch_lines(["*Right-sample_order*", "*XPASS(strict)*declared, but not true*"])
