from __future__ import annotations

import errno

import pytest
import torch

from forestgaps_core import hookimpl
from forestgaps_core.errors import PluginError
from forestgaps_core.training.callbacks import Events

TOLD: list[str] = []


class First:
    @hookimpl
    def step_end(self, loss):
        TOLD.append(f"first {loss}")


class Second:
    @hookimpl
    def step_end(self, trainer, loss):
        TOLD.append(f"second {trainer} {loss}")

    @hookimpl(tryfirst=True)
    def fit_start(self):
        TOLD.append("second starts")


@pytest.fixture(autouse=True)
def _nothing_told():
    TOLD.clear()


def test_callbacks_are_called_in_the_order_of_the_run_file_with_the_arguments_they_name():
    events = Events({"b": First(), "a": Second()})
    events.step_end(trainer="T", loss=1)
    assert TOLD == ["first 1", "second T 1"]


def test_an_event_nobody_hears_is_sent_to_nobody():
    Events({"b": First()}).fit_end(trainer=None)
    assert TOLD == []


def test_two_callbacks_of_one_class_are_both_called():
    Events({"one": First(), "two": First()}).step_end(trainer=None, loss=2)
    assert TOLD == ["first 2", "first 2"]


class Misspelt:
    @hookimpl
    def step_ends(self, loss): ...


class Asking:
    @hookimpl
    def step_end(self, losses): ...


class Unmarked:
    def step_end(self, loss): ...


class Deaf:
    def other(self): ...


class Wrapping:
    @hookimpl(wrapper=True)
    def step_end(self, loss):
        yield


@pytest.mark.parametrize(
    ("callback", "sentence"),
    [
        (Misspelt(), r"no training event 'step_ends' \(did you mean 'step_end'\?\)"),
        (Asking(), "losses"),
        (Unmarked(), "lacks @hookimpl"),
        (Deaf(), "listens to no training event"),
        (Wrapping(), "is a wrapper"),
    ],
)
def test_what_would_never_be_called_is_refused_before_the_first_step(callback, sentence):
    with pytest.raises(PluginError, match=sentence):
        Events({"label": callback})


class Failing:
    @hookimpl
    def step_end(self):
        raise ZeroDivisionError("in here")


def test_an_exception_names_the_callback_and_the_event():
    with pytest.raises(
        PluginError, match=r"callbacks.broken \(.*Failing\) failed at step_end: ZeroDivisionError: in here"
    ) as caught:
        Events({"broken": Failing()}).step_end(trainer=None, loss=None)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_failing_callback_is_reported_once_where_the_run_is_to_continue(caplog):
    told = []

    class After:
        @hookimpl
        def step_end(self):
            told.append("after")

    events = Events({"broken": Failing(), "after": After()}, on_error="continue")
    for _ in range(3):
        events.step_end(trainer=None, loss=None)
    assert told == ["after"] * 3
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "callbacks.broken" in caplog.text


def test_a_full_disk_under_a_callback_never_ends_the_run(caplog):
    class Writing:
        @hookimpl
        def step_end(self):
            raise OSError(errno.ENOSPC, "No space left on device", "log.csv")

    events = Events({"log": Writing()})
    events.step_end(trainer=None, loss=None)
    events.step_end(trainer=None, loss=None)
    (record,) = caplog.records
    assert record.getMessage().startswith("callbacks.log (")
    assert record.getMessage().endswith(", at step_end: No space left on device: log.csv; training continues")


def test_what_a_callback_changes_in_torch_is_put_back_and_reported(caplog):
    class Changing:
        @hookimpl
        def step_end(self):
            torch.set_default_dtype(torch.float64)
            torch.set_num_threads(threads + 1)

    threads = torch.get_num_threads()
    Events({"greedy": Changing()}).step_end(trainer=None, loss=None)
    assert (torch.get_default_dtype(), torch.get_num_threads()) == (torch.float32, threads)
    assert "callbacks.greedy" in caplog.text
    assert "the default dtype (to torch.float64" in caplog.text


def test_an_event_that_does_not_exist_is_reported():
    with pytest.raises(AttributeError, match=r"no training event 'step_edn' \(did you mean 'step_end'\?\)"):
        Events({}).step_edn()
