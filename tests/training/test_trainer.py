from __future__ import annotations

import copy
from math import inf

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from forestgaps_core import Batch, CheckpointError, Environment, PluginError, Trainer, hookimpl
from forestgaps_core.errors import NumbersError
from forestgaps_core.files.checkpoint import choose_weights
from forestgaps_core.runtime.rng import seed_of_step
from forestgaps_core.testing import example_batch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3, padding=1)
        self.norm, self.dropout, self.head = nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 1, 1)

    def forward(self, dsm, valid, thresholds):
        x = self.dropout(self.norm(self.layer((dsm - 430) / 10)).relu())
        return self.head(x) + thresholds[:, :, None, None] / 10


def loss(logits, batch):
    cost = nn.functional.binary_cross_entropy_with_logits(logits, batch.target, reduction="none") * batch.valid
    return cost.sum() / batch.valid.expand_as(cost).sum().clamp(min=1)


def batches(count=5):
    return [example_batch(samples=2, size=16, seed=seed) for seed in range(count)]


CPU = Environment(device="cpu")


def trainer(*, callbacks=(), seed=0, environment=CPU, fused=True, **settings):
    torch.manual_seed(seed)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, fused=fused)
    return Trainer(model=net, loss=loss, optimizer=optimizer, callbacks=callbacks, environment=environment, **settings)


def weights(of):
    return torch.cat([p.detach().flatten() for p in of.model.state_dict().values()])


class Losses:
    def __init__(self):
        self.seen = []

    @hookimpl
    def step_end(self, loss):
        self.seen.append(loss)


def test_ten_lines_of_a_notebook_train():
    data = batches()
    run = trainer()
    run.fit(data, data, epochs=1)
    first = run.scores["validation/loss"]
    run.fit(data, data, epochs=15)
    assert run.scores["validation/loss"] < 0.8 * first
    assert run.epoch == 15
    assert run.step == 75


def test_a_step_is_that_of_a_bare_loop():
    run, data = trainer(max_gradient_norm=inf, environment=Environment(device="cpu", channels_last=False)), batches()
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, fused=True)
    for step, batch in enumerate(data):
        torch.manual_seed(seed_of_step(run.environment.seed, step))
        optimizer.zero_grad()
        loss(net(batch.dsm, batch.valid, batch.thresholds), batch).backward()
        optimizer.step()
    run.fit(data, epochs=1)
    assert torch.equal(weights(run), torch.cat([p.detach().flatten() for p in net.state_dict().values()]))


def test_accumulated_batches_weigh_as_one_large_batch():
    data = batches(3)

    class Fixed(Net):
        def forward(self, dsm, valid, thresholds):
            return self.head(self.layer((dsm - 430) / 10)) + thresholds[:, :, None, None] / 10

    def gradient(groups):
        torch.manual_seed(0)
        net = Fixed()
        run = Trainer(
            model=net,
            loss=lambda logits, batch: (logits * batch.target).mean(),
            optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        )
        run.max_gradient_norm = inf
        for group in groups:
            run.train_step(group)
        return weights(run)

    whole = Batch(
        *(torch.cat([getattr(b, name) for b in data]) for name in ("dsm", "thresholds", "target", "valid", "height", "index"))
    )
    torch.testing.assert_close(gradient([data]), gradient([[whole]]), rtol=1e-4, atol=1e-5)


def test_the_last_group_of_an_epoch_may_be_short():
    run = trainer(accumulate=2)
    run.fit(batches(5), epochs=2)
    assert run.steps_per_epoch == 3
    assert run.step == 6


def test_gradients_are_clipped_by_norm_and_by_value():
    run = trainer(max_gradient_norm=1e-3)
    run.train_step(batches(1))
    norm = torch.cat([p.grad.flatten() for p in run.model.parameters()]).norm()
    assert norm == pytest.approx(1e-3, rel=1e-3)
    assert run.gradient_norm > 1e-3
    run = trainer(max_gradient_value=1e-5)
    run.train_step(batches(1))
    assert max(p.grad.abs().max() for p in run.model.parameters()) <= 1e-5


def test_the_schedule_sets_the_rate_of_every_step():
    rates = []

    class Rates:
        @hookimpl
        def step_end(self, trainer):
            rates.append(trainer.optimizer.param_groups[0]["lr"])

    run = trainer(callbacks=[Rates()], scheduler=lambda step: 1 / (step + 1))
    run.fit(batches(3), epochs=1)
    assert rates == pytest.approx([1e-2, 5e-3, 1e-2 / 3])


def test_a_schedule_may_follow_the_scores_and_cycle_the_momentum():
    class Plateau:
        def __init__(self):
            self.seen = []

        def __call__(self, step):
            return 1.0

        def momentum(self, step):
            return 0.5

        def observe(self, scores):
            self.seen.append(scores["validation/loss"])

    plateau = Plateau()
    run = trainer(scheduler=plateau)
    run.fit(batches(1), batches(1), epochs=2)
    assert len(plateau.seen) == 2
    assert run.optimizer.param_groups[0]["betas"][0] == 0.5


def test_events_come_in_the_documented_order():
    told = []

    class Everything:
        @hookimpl
        def fit_start(self):
            told.append("fit_start")

        @hookimpl
        def epoch_start(self):
            told.append("epoch_start")

        @hookimpl
        def step_start(self):
            told.append("step_start")

        @hookimpl
        def backward_end(self):
            told.append("backward_end")

        @hookimpl
        def step_end(self):
            told.append("step_end")

        @hookimpl
        def evaluation_start(self, split, batches):
            told.append(f"evaluation_start {split} {batches}")

        @hookimpl
        def evaluation_batch(self, logits):
            told.append(f"evaluation_batch {tuple(logits.shape)}")

        @hookimpl
        def evaluation_end(self, scores):
            told.append(f"evaluation_end {sorted(scores)}")

        @hookimpl
        def epoch_end(self, scores):
            told.append(f"epoch_end {sorted(scores)}")

        @hookimpl
        def fit_end(self):
            told.append("fit_end")

    trainer(callbacks=[Everything()]).fit(batches(2), batches(1), epochs=1)
    assert told == [
        "fit_start", "epoch_start", *["step_start", "backward_end", "step_end"] * 2, "evaluation_start validation 1",
        "evaluation_batch (2, 3, 16, 16)", "evaluation_end ['validation/loss']",
        "epoch_end ['train/loss', 'train/rate', 'validation/loss']", "fit_end",
    ]  # fmt: skip


class Gradients:
    """What a callback sees of a step at each of its events."""

    def __init__(self):
        self.seen = []

    @hookimpl
    def step_start(self, trainer):
        torch.rand(7)  # changes no random number of the step
        self.seen.append((trainer.step, trainer.optimizer.param_groups[0]["lr"]))

    @hookimpl
    def backward_end(self, trainer):
        self.seen.append([p.grad.clone() for p in trainer.model.parameters()])


def test_step_start_comes_with_the_rate_of_the_step_and_leaves_its_random_numbers():
    seen, plain = Gradients(), trainer(scheduler=lambda step: 0.5**step, accumulate=2)
    run = trainer(callbacks=[seen], scheduler=lambda step: 0.5**step, accumulate=2)
    for each in (run, plain):
        each.fit(batches(4), epochs=1)
    assert seen.seen[::2] == [(0, 1e-2), (1, 0.5e-2)]
    assert torch.equal(weights(run), weights(plain))


@pytest.mark.parametrize("precision", ["32", "16"])
def test_backward_end_comes_with_the_unscaled_gradients_of_all_batches_before_clipping(precision):
    seen = Gradients()
    run = trainer(
        callbacks=[seen], max_gradient_norm=1e-3, accumulate=2, environment=Environment(device="cpu", precision=precision)
    )
    run.fit(batches(2), epochs=1)
    norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in seen.seen[1]]))
    assert 0.01 < norm < 10
    torch.testing.assert_close(norm, run.gradient_norm)
    clipped = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in run.model.parameters()]))
    assert clipped < 1.01e-3


def test_gradients_that_a_callback_changes_move_the_weights():
    class Zero:
        @hookimpl
        def backward_end(self, trainer):
            for parameter in trainer.model.parameters():
                parameter.grad.zero_()

    run = trainer(callbacks=[Zero()])
    before = [p.detach().clone() for p in run.model.parameters()]
    for group in run.optimizer.param_groups:
        group["weight_decay"] = 0.0
    run.fit(batches(2), epochs=1)
    assert all(map(torch.equal, before, run.model.parameters()))


class BrokenGradients:
    changes = frozenset({"gradients"})

    @hookimpl
    def backward_end(self, trainer):
        if trainer.step == 1:
            next(trainer.model.parameters()).grad.fill_(torch.nan)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("precision", ["32", "16"])
def test_gradients_that_a_callback_makes_non_finite_stop_the_run_before_the_weights_move(precision, fused):
    run = trainer(callbacks=[BrokenGradients()], environment=Environment(device="cpu", precision=precision), fused=fused)
    with pytest.raises(NumbersError, match=r"step 2 .*The weights were not moved"):
        run.fit(batches(3), epochs=1)
    assert weights(run).isfinite().all()


@pytest.mark.parametrize("precision", ["32", "16"])
def test_a_step_whose_gradients_a_callback_makes_non_finite_can_be_skipped(precision):
    environment = Environment(device="cpu", precision=precision)
    run, plain = trainer(callbacks=[BrokenGradients()], environment=environment, nonfinite="skip"), trainer(environment=environment)
    run.fit(batches(2), epochs=1)
    plain.fit(batches(1), epochs=1)
    parameters = [torch.cat([p.detach().flatten() for p in each.model.parameters()]) for each in (run, plain)]
    assert torch.equal(*parameters)


def test_an_event_without_a_listener_reads_nothing():
    run = trainer(callbacks=[Losses()])
    assert run.events.step_start is run.events.backward_end
    assert run.events.step_start is not run.events.step_end


def test_a_callback_may_stop_the_run_after_a_step():
    class Stop:
        @hookimpl
        def step_end(self, trainer):
            if trainer.step == 3:
                trainer.stop("enough")

    run = trainer(callbacks=[Stop()])
    run.fit(batches(5), epochs=2)
    assert (run.step, run.epoch, run.batch, run.stopped) == (3, 0, 3, "enough")


def test_fit_end_is_called_after_an_error_too():
    told = []

    class Failing:
        @hookimpl
        def step_end(self):
            raise ZeroDivisionError

        @hookimpl
        def fit_end(self):
            told.append("fit_end")

    with pytest.raises(PluginError, match=r"callbacks.Failing .* failed at step_end: ZeroDivisionError"):
        trainer(callbacks=[Failing()]).fit(batches(1), epochs=1)
    assert told == ["fit_end"]


def test_a_checkpoint_holds_what_every_callback_knows_after_the_event(tmp_path):
    from forestgaps_core.files.checkpoint import load_checkpoint

    class Asks:
        @hookimpl
        def step_end(self, trainer):
            trainer.checkpoint(tmp_path / "last.safetensors")

    class Counts:
        count = 0

        @hookimpl
        def step_end(self):
            self.count += 1

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state):
            self.count = state["count"]

    run = trainer(callbacks={"first": Asks(), "second": Counts()})
    run.fit(batches(2), epochs=1)
    assert load_checkpoint(tmp_path / "last.safetensors")["callbacks"]["second"] == {"count": 2}


class Interrupt:
    def __init__(self, step):
        self.step = step

    @hookimpl
    def step_end(self, trainer):
        if trainer.step == self.step:
            trainer.stop("interrupted", final=False)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 7])
@pytest.mark.parametrize("settings", [{}, {"accumulate": 2}, {"environment": Environment(device="cpu", precision="bf16")}])
def test_a_resumed_run_ends_with_the_same_bits(step, settings):
    data = batches(4)
    whole = trainer(callbacks={"stop": Interrupt(-1)}, **settings)
    whole.fit(data, data, epochs=2)
    first = trainer(callbacks={"stop": Interrupt(step)}, **settings)
    first.fit(data, data, epochs=2)
    state = copy.deepcopy(first.state_dict())
    second = trainer(callbacks={"stop": Interrupt(-1)}, seed=99, **settings)
    second.load_state_dict(state)
    second.fit(data, data, epochs=2)
    assert second.step == whole.step
    assert torch.equal(weights(second), weights(whole))
    assert second.scores == (whole.scores if step <= whole.step else {})  # nothing was left to do


def test_a_run_stopped_for_good_stays_stopped():
    run = trainer(callbacks={"stop": Interrupt(-1)})
    run.stop("no improvement")
    again = trainer(callbacks={"stop": Interrupt(-1)})
    again.load_state_dict(run.state_dict())
    again.fit(batches(1), epochs=3)
    assert again.step == 0
    assert again.stopped == "no improvement"


def test_a_state_of_something_else_is_refused():
    state = trainer(callbacks={"stop": Interrupt(1)}).state_dict()
    with pytest.raises(CheckpointError, match="other callbacks: stop"):
        trainer().load_state_dict(state)
    with pytest.raises(CheckpointError, match="schedule differs"):
        trainer(callbacks={"stop": Interrupt(1)}, scheduler=lambda step: 0.5).load_state_dict(state)
    other = trainer(callbacks={"stop": Interrupt(1)})
    other.model = nn.Linear(1, 1)
    with pytest.raises(CheckpointError, match="another network"):
        other.load_state_dict(state)


def test_fp16_scales_the_loss_and_trains():
    run = trainer()
    run = Trainer(model=run.model, loss=loss, optimizer=run.optimizer, environment=Environment(device="cpu", precision="16"))
    data = batches(2)
    run.fit(data, data, epochs=1)
    assert run.state_dict()["scaler"]["scale"] > 1
    before = run.scores["validation/loss"]
    run.fit(data, data, epochs=15)
    assert run.scores["validation/loss"] < before


def test_what_a_loss_learns_is_saved():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.balance = nn.Parameter(torch.zeros(()))

        def forward(self, logits, batch):
            return loss(logits, batch) * self.balance.exp() - self.balance

    net, learned = Net(), Learned()
    run = Trainer(model=net, loss=learned, optimizer=torch.optim.SGD([*net.parameters(), *learned.parameters()], lr=0.1))
    run.fit(batches(2), epochs=1)
    assert learned.balance != 0
    assert torch.equal(run.state_dict()["loss"]["balance"], learned.balance)


class Reads(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_step_reads_nothing_from_the_device():
    run, data = trainer(callbacks=[Losses()]), batches(2)
    run.fit(data, epochs=1)
    with Reads() as reads:
        run.train_step(data)
    assert reads.count == 0


class ReadsOfSteps:
    def __init__(self, reads):
        self.reads, self.seen = reads, []

    @hookimpl
    def step_end(self):
        self.seen.append(self.reads.count)


def test_steps_between_looks_read_nothing_from_the_device():
    data = batches(7)
    with Reads() as reads:
        steps = ReadsOfSteps(reads)
        run = trainer(callbacks=[Losses(), steps], scheduler=lambda step: 1 / (1 + step), accumulate=1, check_every=5)
        run.fit(data, epochs=2)
    assert run.max_gradient_norm < inf
    took = [after - before for before, after in zip(steps.seen, steps.seen[1:], strict=False)]
    looks = {5, 7, 10}  # counted before the look that follows the step
    assert all(count == 0 for step, count in enumerate(took, 1) if step not in looks)
    assert all(took[step - 1] > 0 for step in looks)


def test_predictions_are_probabilities():
    run = trainer()
    (first, *_) = list(run.predict(batches(2)))
    assert first.shape == (2, 3, 16, 16)
    assert ((first >= 0) & (first <= 1)).all()


def test_training_without_a_loss_is_refused():
    with pytest.raises(ValueError, match="needs a loss and an optimizer"):
        Trainer(model=Net()).fit(batches(1), epochs=1)


def test_callbacks_of_one_class_in_a_list_get_labels_of_their_own():
    assert list(trainer(callbacks=[Losses(), Losses()]).events.callbacks) == ["Losses", "Losses 2"]


class Keeps:
    """A callback whose state has the keys of EMA weights, whatever they mean to it."""

    @hookimpl
    def step_end(self):
        pass

    def state_dict(self):
        return {"ema_weights": {"weight": torch.ones(1)}, "ema": {"weight": torch.full((1,), 2.0)}}

    def load_state_dict(self, state):
        pass


class Declares(Keeps):
    evaluated_weights = "ema"


def test_only_a_declaration_makes_weights_of_a_callback_those_to_evaluate_with():
    assert choose_weights(trainer(callbacks=[Keeps()]).state_dict()).keys() != {"weight"}
    declared = trainer(callbacks=[Keeps(), Declares()]).state_dict()
    assert declared["evaluated_weights"] == {"callback": "Declares", "key": "ema"}
    assert choose_weights(declared)["weight"].item() == 2.0
    with pytest.raises(PluginError, match="Declares and Declares 2 each keep the weights to evaluate with"):
        trainer(callbacks=[Declares(), Declares()])
