from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from forestgaps_core.plugins import isolation as importing
from forestgaps_core.plugins.isolation import contain


@pytest.mark.parametrize("early", [True, False])
def test_an_interruption_beside_the_code_of_a_plugin_is_no_fault_of_the_plugin(monkeypatch, early: bool) -> None:
    """A signal may come while the watch over the code begins or ends."""

    @contextmanager
    def watched(what: str) -> Iterator[None]:
        if early:
            signal.raise_signal(signal.SIGINT)
        yield
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(importing, "report_long_calls", watched)
    with pytest.raises(KeyboardInterrupt), contain("the plugin x 1.0"):
        pass
