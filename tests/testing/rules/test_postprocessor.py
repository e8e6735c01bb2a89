"""Each rule for post-processors finds what breaks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attrs import field, frozen

from forestgaps_core.testing import check_postprocessor


@frozen
class Call:
    run: Any
    changes: Any = "probabilities"
    halo: Any = 0

    def __call__(self, values, valid):
        return self.run(values, valid)


@frozen(kw_only=True)
class Config:
    """Builds a step."""

    step: str = field(default="same", metadata={"help": "Name of the step."})

    def build(self):
        return STEPS[self.step]


STEPS = {
    "same": Call(lambda values, valid: values),
    "shift": Call(lambda values, valid: np.roll(values, 1, axis=-1), halo=1),
    "far": Call(lambda values, valid: np.roll(values, 2, axis=-1), halo=1),
    "mean": Call(lambda values, valid: np.full_like(values, values.mean())),
    "swapped": Call(lambda values, valid: values[::-1]),
    "large": Call(lambda values, valid: values + 1),
    "float64": Call(lambda values, valid: values.astype(float)),
    "short": Call(lambda values, valid: values[:, 1:]),
    "halo": Call(lambda values, valid: values, halo=-1),
    "changes": Call(lambda values, valid: values, changes="all"),
    "gaps": Call(lambda values, valid: ~values, changes="gaps"),
}


@pytest.mark.parametrize("step", ["same", "shift"])
def test_a_right_step_keeps_all_rules(step):
    check_postprocessor(Config(step=step))


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("far", r"depends on more than halo = 1 pixels \(halo\)"),
        ("mean", r"depends on more than halo = 0 pixels \(halo\)"),
        ("swapped", r"not monotone in the threshold.*\(monotone\)"),
        ("gaps", r"not monotone in the threshold.*\(monotone\)"),
        ("large", r"not a probability \(values\)"),
        ("float64", r"the result is torch.float64, expected torch.float32"),
        ("short", r"has the shape"),
        ("halo", r"halo is -1"),
        ("changes", r"changes is 'all'"),
    ],
)
def test_a_wrong_step_breaks_its_rule(step, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_postprocessor(Config(step=step))
