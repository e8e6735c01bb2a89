from __future__ import annotations

import pytest

from forestgaps_tracking.error_guard import ErrorGuard


def fails() -> None:
    raise OSError("no route to host\nand much more")


def test_the_first_error_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    guard = ErrorGuard("board")
    guard(fails)
    guard(fails)
    assert capsys.readouterr().err == "callbacks.board: OSError: no route to host; training continues, its log may have gaps\n"
    assert guard.failing


def test_success_after_a_failure_is_noticed() -> None:
    guard = ErrorGuard("board")
    guard(fails)
    guard(lambda: None)
    assert not guard.failing


def test_an_interruption_by_the_user_is_not_caught() -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ErrorGuard("board")(interrupts)
