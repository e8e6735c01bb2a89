from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forestgaps_callbacks.profiler import Profiler, ProfilerConfig
from forestgaps_core.testing import check_callback


def test_contract(tmp_path: Path) -> None:
    check_callback(ProfilerConfig(wait=1, warmup=1, steps=2, memory=True), tmp_path)


def test_the_chosen_steps_are_recorded(tmp_path: Path, train: Callable[..., Any]) -> None:
    profiler = Profiler(tmp_path / "profile", wait=1, warmup=1, steps=2)
    train({"profile": profiler}, epochs=1)
    trace = json.loads((tmp_path / "profile" / "trace.json").read_text())
    steps = {event["name"] for event in trace["traceEvents"] if str(event.get("name", "")).startswith("ProfilerStep")}
    assert steps == {"ProfilerStep#2", "ProfilerStep#3"}
    assert "convolution" in (tmp_path / "profile" / "operators.txt").read_text()
    assert profiler.running is None


def test_a_run_shorter_than_the_wait_writes_nothing_and_does_not_fail(tmp_path: Path, train: Callable[..., Any]) -> None:
    profiler = Profiler(tmp_path / "profile", wait=100)
    train({"profile": profiler}, epochs=1)
    assert profiler.running is None
    assert not (tmp_path / "profile").exists()
