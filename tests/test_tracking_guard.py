from __future__ import annotations

import pytest

from forestgaps_core.tracking import Guard


def fails() -> None:
    raise OSError("no route to host\nand much more")


def test_the_first_error_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    guard = Guard("board")
    guard(fails)
    guard(fails)
    assert capsys.readouterr().err == "callbacks.board: OSError: no route to host; training goes on, its log may have gaps\n"
    assert guard.failing


def test_success_after_a_failure_is_noticed() -> None:
    guard = Guard("board")
    guard(fails)
    guard(lambda: None)
    assert not guard.failing


def test_an_interruption_by_the_user_is_not_swallowed() -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Guard("board")(interrupts)
