from __future__ import annotations

from typing import ClassVar

import pytest
import torch

from forestgaps_core import PluginError, hookimpl
from forestgaps_core.testing.example_run import train_example
from forestgaps_core.training.callbacks import Events


class Weights:
    def change(self, trainer):
        with torch.no_grad():
            next(trainer.model.parameters()).data.mul_(1 + 1e-6)

    @hookimpl
    def step_end(self, trainer):
        self.change(trainer)


class Model(Weights):
    def change(self, trainer):
        trainer.model.layers[3].p = 0.1 * trainer.step


class Frozen(Weights):
    def change(self, trainer):
        next(trainer.model.parameters()).requires_grad_(False)


class Gradients(Weights):
    def change(self, trainer):
        next(trainer.model.parameters()).grad.mul_(2)


class Optimizer(Weights):
    def change(self, trainer):
        trainer.optimizer.param_groups[0]["weight_decay"] += 0.1


class State(Weights):
    def change(self, trainer):
        next(iter(trainer.optimizer.state.values()))["exp_avg"].zero_()


class Nothing(Weights):
    def change(self, trainer):
        trainer.model.state_dict()


CASES = [
    *((Weights, "weights"), (Model, "model"), (Frozen, "model")),
    *((Gradients, "gradients"), (Optimizer, "optimizer"), (State, "optimizer")),
]


@pytest.mark.parametrize(("kind", "part"), CASES)
def test_a_change_that_is_not_declared_is_found_where_changes_are_checked(kind, part):
    sentence = rf"callbacks\.x .*{kind.__name__} changes the .* at step_end.*add the attribute changes = \{{'{part}'\}}"
    with pytest.raises(PluginError, match=sentence):
        train_example({"x": kind()}, epochs=1, check_changes=True)
    train_example({"x": kind()}, epochs=1)  # no training checks it


@pytest.mark.parametrize(("kind", "part"), [*CASES, (Nothing, "weights")])
def test_a_change_that_is_declared_is_accepted(kind, part):
    declaring = type("Declaring", (kind,), {"changes": {part}})
    train_example({"x": declaring()}, epochs=1, check_changes=True)


def test_a_callback_that_changes_nothing_declares_nothing():
    train_example({"x": Nothing()}, epochs=1, check_changes=True)


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        ({"weight"}, r"changes has 'weight' \(did you mean 'weights'\?\); there is: weights, model, gradients, optimizer"),
        ("weights", "changes is 'weights', expected a set of"),
        (True, "changes is True, expected a set of"),
        ([3], r"changes is \[3\], expected a set of"),
    ],
)
def test_a_declaration_that_names_no_part_is_refused_before_the_first_step(declared, sentence):
    with pytest.raises(PluginError, match=sentence):
        Events({"x": type("Declaring", (Nothing,), {"changes": declared})()})


def test_other_processes_send_events_only_to_callbacks_that_change_something():
    heard = []

    class Changing:
        changes: ClassVar = {"gradients"}

        @hookimpl
        def step_end(self):
            heard.append("changing")

    class Watching:
        @hookimpl
        def step_end(self):
            heard.append("watching")

    Events({"a": Changing(), "b": Watching()}, changing_only=True).step_end(trainer=None, loss=None)
    assert heard == ["changing"]
