from __future__ import annotations

import pytest
import torch

from forestgaps_core import LossContext, PluginError, hookimpl
from forestgaps_core.errors import NumbersError
from forestgaps_core.testing import example_batch
from forestgaps_core.testing.example_run import StandInTrainer, example_loss, example_trainer, train_example
from forestgaps_core.training.logged_values import MeanValues, ValueLog


def test_means_are_read_from_the_device_only_on_demand():
    means = MeanValues()
    for _ in range(3):
        means.add("far", torch.ones((), device="meta"))  # whose value nothing can read
    with pytest.raises(NotImplementedError):
        means.read()


def test_means_keep_double_precision_and_numbers():
    means = MeanValues()
    means.add_all({"single": torch.tensor(0.5), "double": torch.tensor(1 / 3, dtype=torch.float64), "number": 0.1})
    assert means.read() == {"single": 0.5, "double": 1 / 3, "number": 0.1}
    assert means.read() == {}


def test_a_logged_tensor_that_changes_in_place_later_keeps_its_value():
    values, total = ValueLog(torch.device("cpu")), torch.zeros(())
    with values.collect("train", values.step):
        for _ in range(2):
            total += 1
            values.log("total", total, "a")
    assert values.step.read() == {"total": 1.5}


class Logs:
    """Logs at one event."""

    def __init__(self, event, name="mine", value=1.0):
        self.event, self.name, self.value = event, name, value

    def heard(self, event, trainer):
        if event == self.event:
            trainer.log(self.name, self.value)

    @hookimpl
    def fit_start(self, trainer):
        self.heard("fit_start", trainer)

    @hookimpl
    def epoch_start(self, trainer):
        self.heard("epoch_start", trainer)

    @hookimpl
    def step_start(self, trainer):
        self.heard("step_start", trainer)

    @hookimpl
    def backward_end(self, trainer):
        self.heard("backward_end", trainer)

    @hookimpl
    def step_end(self, trainer):
        self.heard("step_end", trainer)

    @hookimpl
    def evaluation_start(self, trainer):
        self.heard("evaluation_start", trainer)

    @hookimpl
    def evaluation_batch(self, trainer):
        self.heard("evaluation_batch", trainer)

    @hookimpl
    def evaluation_end(self, trainer):
        self.heard("evaluation_end", trainer)

    @hookimpl
    def epoch_end(self, trainer):
        self.heard("epoch_end", trainer)

    @hookimpl
    def fit_end(self, trainer):
        self.heard("fit_end", trainer)


@pytest.mark.parametrize(
    ("event", "full_name"),
    [
        ("step_start", "train/mine"),
        ("backward_end", "train/mine"),
        ("step_end", "train/mine"),
        ("evaluation_start", "validation/mine"),
        ("evaluation_batch", "validation/mine"),
        ("evaluation_end", "validation/mine"),
        ("epoch_end", "train/mine"),
    ],
)
@pytest.mark.parametrize("value", [2, 2.0, torch.tensor(2), torch.tensor(2.0, dtype=torch.float16)])
def test_a_value_of_any_event_from_step_start_to_epoch_end_is_a_score_of_the_epoch(event, full_name, value):
    scores = train_example({"log": Logs(event, value=value)}, epochs=2).scores
    assert scores[full_name] == 2.0
    assert [name for name in scores if name.endswith("mine")] == [full_name]
    assert all(isinstance(score, float) for score in scores.values())


@pytest.mark.parametrize("event", ["fit_start", "epoch_start", "fit_end"])
def test_a_value_at_an_event_that_a_resume_repeats_is_refused(event):
    with pytest.raises(PluginError, match="outside of steps and passes; log values from step_start to epoch_end"):
        train_example({"log": Logs(event)}, epochs=1)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("mine", torch.ones(2), r"as a tensor of shape \(2,\), expected \(\)"),
        ("mine", torch.ones((), requires_grad=True), "with its gradient; log value.detach"),
        ("mine", torch.ones((), device="meta"), "on meta, expected a number or a tensor on cpu"),
        ("mine", "1", "as a str, expected a number"),
        ("mine", True, "as a bool, expected a number"),
        ("mine", None, "as a NoneType, expected a number"),
        ("loss", 1.0, "'loss', which is a value of the trainer"),
        ("train/mine", 1.0, "use a name of letters"),
        ("", 1.0, "use a name of letters"),
        (7, 1.0, "; use a name of letters"),
    ],
)
def test_a_value_that_cannot_be_logged_is_refused_with_the_callback(name, value, sentence):
    with pytest.raises(PluginError, match=rf"callbacks\.noise .*Logs logs .*{sentence}"):
        train_example({"noise": Logs("step_end", name, value)}, epochs=1)


def test_a_name_that_two_callbacks_log_is_refused_with_both():
    with pytest.raises(PluginError, match=r"callbacks\.two .* logs 'mine', which callbacks\.one .* logs too"):
        train_example({"one": Logs("step_end"), "two": Logs("step_end")}, epochs=1)


def test_a_value_at_the_end_of_an_epoch_does_not_replace_a_score():
    with pytest.raises(PluginError, match=r"callbacks\.log .* logs 'mine', but train/mine is already a score"):
        train_example({"log": LogsTwice("step_end")}, epochs=1)


class LogsTwice(Logs):
    @hookimpl
    def epoch_end(self, trainer):
        trainer.log("mine", 2.0)


def test_logged_holds_the_means_of_the_step_for_those_that_hear_it_last():
    seen = []

    class Last:
        @hookimpl(trylast=True)
        def step_end(self, trainer):
            seen.append({name: float(value) for name, value in trainer.logged.items()})

    train_example({"last": Last(), "log": Logs("step_start", value=4.0), "more": Logs("step_end", "more", 1.0)}, epochs=1)
    assert seen == [{"mine": 4.0, "more": 1.0}] * 5


def test_the_mean_over_an_epoch_survives_a_resume_in_its_middle(tmp_path):
    class Number:
        @hookimpl
        def step_end(self, trainer):
            trainer.log("number", torch.tensor(float(trainer.step)))
            if trainer.step == 3:
                trainer.checkpoint(tmp_path / "third.safetensors")

    whole = train_example({"number": Number()}, epochs=1)
    resumed = train_example({"number": Number()}, epochs=1, resume=tmp_path / "third.safetensors")
    assert whole.scores["train/number"] == resumed.scores["train/number"] == 3.0
    assert whole.scores == resumed.scores


class PartsLoss(torch.nn.Module):
    """Logs its parts and remembers what it saw."""

    outputs = ("layers.0",)

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, logits, batch, context: LossContext):
        main = example_loss(logits, batch)
        self.seen.append(
            (context.split, context.step, context.epoch, context.total_steps, tuple(context.outputs["layers.0"].shape))
        )
        feature = context.outputs["layers.0"].square().mean()
        context.log("main", main.detach())
        context.log("feature", feature.detach())
        return main + 0.1 * feature


def train_with(loss, callbacks=None):
    trainer = example_trainer(callbacks or {})
    trainer = type(trainer)(
        model=trainer.model, loss=loss, optimizer=trainer.optimizer, callbacks=callbacks or {}, environment=trainer.environment
    )
    batches = [example_batch(samples=2, size=16, seed=seed) for seed in range(2)]
    trainer.fit(batches, batches[:1], epochs=2)
    return trainer


def test_a_loss_logs_its_parts_and_sees_step_epoch_and_outputs_of_the_network():
    loss = PartsLoss()
    trainer = train_with(loss)
    shape = (2, 4, 16, 16)
    assert loss.seen == [
        *(("train", 0, 0, 4, shape), ("train", 1, 0, 4, shape), ("validation", 2, 0, 4, shape)),
        *(("train", 2, 1, 4, shape), ("train", 3, 1, 4, shape), ("validation", 4, 1, 4, shape)),
    ]
    for split in ("train", "validation"):
        parts = trainer.scores[f"{split}/main"] + 0.1 * trainer.scores[f"{split}/feature"]
        assert parts == pytest.approx(trainer.scores[f"{split}/loss"], rel=1e-6)


def test_a_loss_that_logs_a_name_of_a_callback_is_refused():
    with pytest.raises(PluginError, match=r"loss .*PartsLoss logs 'main', which callbacks\.log"):
        train_with(PartsLoss(), {"log": Logs("step_start", "main")})


def test_an_output_of_an_unknown_module_is_refused_before_training():
    loss = PartsLoss()
    loss.outputs = ("layer.0",)
    with pytest.raises(PluginError, match=r"outputs names 'layer\.0', which is not a module of the network \(did you mean"):
        train_with(loss)


def test_the_report_on_a_bad_step_logs_nothing():
    class Broken(PartsLoss):
        def forward(self, logits, batch, context):
            return super().forward(logits, batch, context) * (torch.nan if context.step == 1 else 1.0)

    with pytest.raises(NumbersError, match="the loss is nan"):
        train_with(Broken())


def test_the_stand_in_remembers_what_is_logged():
    trainer = StandInTrainer()
    trainer.log("mine", 1.0)
    assert trainer.logged == {"mine": 1.0}
