"""Same seed, same machine: same bytes; asserted for every network, loss, normalization and loader setting that is installed.

As a script it prints digests of trainings, for the comparison of processes, or how far 2 threads end from 1:

    python -m tests.test_determinism digests FOLDER '["model.unet"]'
    python -m tests.test_determinism threads FOLDER
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from forestgaps_core import load_config, train_model
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.plugins.registry import Plugins

from .small_run import make_small_run

RUN = make_small_run(
    {
        "thresholds": {"sampled": 2},
        "augmentations.mix": {"name": "canopy_mix", "swap": 0, "cutmix": 0.5},
        "augmentations.flips": {"name": "flip_rotate"},
        "augmentations.tilt": {"name": "tilt"},
        "environment": {"workers": 0},
    }
)

# What a component needs besides its name to mean anything.
NEEDS = {
    "loss.mixture": ['loss.parts={one = {name = "bce"}, two = {name = "dice"}}'],
    "loss.sum": ['loss.parts={one = {name = "bce"}, two = {name = "dice"}}'],
}
SETTINGS = {
    "bf16": ["environment.precision=bf16"],
    "accumulation": ["training.accumulate=2"],
    "no channels last": ["environment.channels_last=false"],
    "one worker": ["environment.workers=1"],
    "two workers": ["environment.workers=2"],
    "two workers, accumulation, bf16": ["environment.workers=2", "training.accumulate=2", "environment.precision=bf16"],
    "dropout": ["model.dropout=0.3", "model.drop_path=0.3"],
    "all augmentation": [
        *("augmentations.stretch.name=canopy_stretch", "augmentations.hills.name=hills", "augmentations.hills.relief_m=5"),
        *("augmentations.mix.mixup=0.5", "augmentations.mix.swap=0.5"),
    ],
    "balanced sampling": ["data.sampling.balance=gaps"],
    "averaged weights": ["callbacks.it.name=ema_weights"],
}
ALL = os.environ.get("FORESTGAPS_FAULTS") == "all"
# Networks move apart when sums are taken in another order, as more threads take them. Measured by `threads` below.
APART = 0.02  # of the largest weight, after 2 steps on 2 threads instead of 1


def trainings() -> dict[str, list[str]]:
    """Changes of the run file by what they try."""
    found = Plugins.discover()
    chosen: dict[str, list[str]] = {}
    without_weights = "ground_filter"
    for kind in ("model", "loss", "normalization"):
        for name in found.components(kind):
            if name == without_weights:
                continue
            place = f"{kind}.{name}"
            chosen[place] = [f"{kind}.name={name}", *NEEDS.get(place, []), *(["model.base=4"] if kind == "model" else [])]
    return {**chosen, **SETTINGS}


def trained(folder: Path, changes: list[str], plugins: Plugins) -> Mapping[str, Tensor]:
    """Weights after a short training."""
    path = folder.with_suffix(".toml")
    path.write_text(RUN)
    train_model(load_config(path, overrides=changes, plugins=plugins), folder, plugins=plugins)
    weights: Mapping[str, Tensor] = load_checkpoint(folder / "checkpoints" / "last.safetensors")["model"]
    return weights


def digest(weights: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name, tensor in weights.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def digests(folder: Path, names: list[str]) -> dict[str, str]:
    plugins, chosen = Plugins.discover(), trainings()
    return {name: digest(trained(folder / f"{number}", chosen[name], plugins)) for number, name in enumerate(names)}


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """Return the digests of trainings by name; each is made at its first use."""
    folder, made = tmp_path_factory.mktemp("once"), {}

    def of(names: list[str]) -> dict[str, str]:
        for name in names:
            if name not in made:
                (folder / f"{len(made)}").mkdir()
                made.update(digests(folder / f"{len(made)}", [name]))
        return {name: made[name] for name in names}

    return of


def shuffled() -> list[str]:
    names = list(trainings())
    random.Random(7).shuffle(names)
    return names


def quick() -> list[str]:
    """Each network and setting, and every fourth loss and normalization, which `test_every_component.py` trains twice too."""
    names = shuffled()
    return [name for name in names if name.startswith("model.") or "." not in name] + [name for name in names if "." in name][::4]


@pytest.mark.parametrize("name", [n if n in quick() else pytest.param(n, marks=pytest.mark.slow) for n in shuffled()])
def test_the_same_training_again_after_others_ends_with_the_same_bytes(name, once, tmp_path):
    expected = once([name])
    torch.rand(13)  # whatever was drawn before
    assert digests(tmp_path, [name]) == expected


@pytest.mark.slow
def test_no_two_trainings_are_alike(once):
    """The digests tell trainings apart: only what differs in how it is read, or by a setting without effect here, is the same."""
    made = once(list(trainings()))
    alike = {"one worker": "two workers"}
    several = {name: value for name, value in made.items() if name not in alike}
    assert made["one worker"] == made["two workers"]
    assert len(set(several.values())) > len(several) * 0.7


def test_other_processes_with_other_hashes_end_with_the_same_bytes(once, tmp_path):
    names = shuffled()
    for number, seed in enumerate(("1", "4242") if ALL else ("1",)):
        place = tmp_path / seed
        place.mkdir()
        half = names[number::2] if ALL else quick()[::4]
        done = subprocess.run(
            [sys.executable, "-m", __name__, "digests", str(place), json.dumps(half)],
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == once(half)


@pytest.mark.parametrize("name", [name for name in trainings() if name.startswith("model.")] if ALL else ["model.unet"])
def test_two_threads_end_near_one(name, tmp_path):
    plugins, changes = Plugins.discover(), trainings()[name]
    one, two = (trained(tmp_path / f"{n}", [*changes, f"environment.threads={n}"], plugins) for n in (1, 2))
    assert apart(one, two) <= APART


def threads_apart(folder: Path) -> None:
    """How far each network ends from itself on 1 thread, on 2, after some numbers of steps; prints a table."""
    plugins = Plugins.discover()
    for name, changes in trainings().items():
        if not name.startswith("model."):
            continue
        row = [name]
        for steps in (3, 30):
            more = [*changes, f"data.samples_per_epoch={2 * steps}"]
            one, two = (trained(folder / f"{name}-{steps}-{n}", [*more, f"environment.threads={n}"], plugins) for n in (1, 2))
            row.append(f"{apart(one, two):.1e}")
        print(" | ".join(row), flush=True)


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference of two weights, over the largest weight."""
    floating = [name for name, tensor in one.items() if tensor.is_floating_point()]
    largest = max(float(one[name].abs().max()) for name in floating)
    return max(float((one[name] - other[name]).abs().max()) for name in floating) / largest


if __name__ == "__main__":
    if sys.argv[1] == "threads":
        threads_apart(Path(sys.argv[2]))
    else:
        print(json.dumps(digests(Path(sys.argv[2]), json.loads(sys.argv[3]))))
