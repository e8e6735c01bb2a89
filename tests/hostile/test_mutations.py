"""A real checkpoint, with one of its parts made something else: whoever reads it says so, or takes it, and never breaks.

All parts by all replacements are some thousand cases. FORESTGAPS_FUZZ_CASES says how many to try, evenly spread over them.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_core import load_predictor, save_network
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.files.checkpoint import save_checkpoint
from forestgaps_core.runs.run import evaluate_run, resume_training

CASES = int(os.environ.get("FORESTGAPS_FUZZ_CASES", "40"))
REPLACEMENTS: Mapping[str, Any] = {
    "nothing": None,
    "true": True,
    "minus one": -1,
    "a large number": 2**62,
    "a fraction": 0.5,
    "no number": float("nan"),
    "infinity": float("inf"),
    "no text": "",
    "a path": "../../../etc/passwd",
    "a name": "os:system",
    "markup": "<script>[bold]\x1b[2J",
    "no list": [],
    "a list": [1, ["x"], {}],
    "no table": {},
    "a table": {"name": "net", 3: None},
    "a scalar": torch.tensor(1.0),
    "a vector": torch.zeros(3),
    "no tensor": torch.zeros(0, 4),
    "whole numbers": torch.ones(4, 1, 3, 3, dtype=torch.int64),
    "not finite": torch.full((4,), torch.nan),
}
GONE = "gone"
# What once ended in a traceback.
BROKE: list[tuple[tuple[Any, ...], str]] = [
    (("schedule", 1), "a vector"),
    (("optimizer", "state", 0, "step"), "no number"),
    (("optimizer", "state", 1, "exp_avg"), "nothing"),
    (("optimizer", "state", 3, "exp_avg"), GONE),
    (("optimizer", "state", 4, "step"), "not finite"),
    (("position", "stopped"), GONE),
    (("optimizer", "param_groups", 0, "amsgrad"), "true"),
    (("optimizer", "param_groups", 1, "differentiable"), "true"),
    (("callbacks",), "a table"),
]


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every part of a state; of lists only the first items."""
    inner = tree.items() if isinstance(tree, Mapping) else enumerate(tree[:2]) if isinstance(tree, list | tuple) else ()
    for key, value in inner:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    key, *rest = path
    if isinstance(tree, Mapping):
        if not rest and value is GONE:
            return {name: part for name, part in tree.items() if name != key}
        return {name: changed(part, tuple(rest), value) if rest else value for name, part in tree.items() if name == key} | {
            name: part for name, part in tree.items() if name != key
        }
    items = list(tree)
    items[key : key + 1] = [] if not rest and value is GONE else [changed(items[key], tuple(rest), value) if rest else value]
    return type(tree)(items)


def cases(state: Mapping[str, Any]) -> list[tuple[tuple[Any, ...], str]]:
    every = [(path, how) for path in places(state) for how in (GONE, *REPLACEMENTS) if path != ("format",)]
    step = max(len(every) // CASES, 1) | 1  # odd, so as to go through the replacements
    return [*BROKE, *every[::step]]


def uses(run: Path, out: Path, plugins: Any) -> dict[str, Callable[[], object]]:
    dsm, valid = torch.rand(1, 1, 16, 16) * 20 + 400, torch.ones(1, 1, 16, 16, dtype=torch.bool)
    return {
        "predict": lambda: load_predictor(run, plugins=plugins)(dsm, valid, [2.0, 5.0]),
        "test": lambda: evaluate_run(run, plugins=plugins),
        "publish": lambda: load_predictor(save_network(run, out, plugins=plugins), plugins=plugins),
        "resume": lambda: resume_training(run, plugins=plugins),
    }


def test_whatever_part_of_a_checkpoint_is_something_else_nothing_breaks(pristine, state, tmp_path, local_plugins):
    pytest.importorskip("safetensors")
    pytest.importorskip("numpy")
    state["position"] |= {"epoch": 0, "batch": 0, "step": 0}  # so that a resumed run trains
    came: Counter[tuple[str, str]] = Counter()
    broken = []
    for number, (path, how) in enumerate(cases(state)):
        run, out = tmp_path / f"run{number}", tmp_path / f"network{number}"
        shutil.copytree(pristine, run)
        save_checkpoint(run / "checkpoints" / "last.safetensors", changed(state, path, REPLACEMENTS.get(how, GONE)))
        for name, use in uses(run, out, local_plugins).items():
            try:
                use()
            except ForestgapsError as error:  # its sentence is what is promised
                came[name, type(error).__name__] += 1
            except Exception as error:
                broken.append(f"{'.'.join(map(str, path))} is {how}: {name}: {type(error).__name__}: {str(error)[:200]}")
            else:
                came[name, "taken"] += 1
        shutil.rmtree(run)
        shutil.rmtree(out, ignore_errors=True)
    print(sorted(came.items()), f"{sum(came.values())} in all")
    assert not broken, "\n".join(broken)
    assert {kind for _, kind in came} >= {"taken", "CheckpointError"}


def test_a_changed_part_is_changed(state):
    """Of the tool above."""
    assert changed({"a": [1, {"b": 2}]}, ("a", 1, "b"), GONE) == {"a": [1, {}]}
    assert changed({"a": (1, 2)}, ("a", 0), "x") == {"a": ("x", 2)}
    assert len(set(places(state))) > 60
