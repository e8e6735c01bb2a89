"""A run stopped in the middle of an epoch and resumed ends bit for bit as one left in peace, whatever reads and computes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_core import load_config, resume_training, train_model
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.plugins.registry import Plugins

from .small_run import INTERRUPT, make_small_run

# All that is drawn at random in training is switched on: order, crops, thresholds, augmentation, dropout, drop-path.
RUN = make_small_run(
    {
        "data": {"samples_per_epoch": 14},
        "thresholds": {"sampled": 2},
        "augmentations.stretch": {"name": "canopy_stretch", "factor": 1.3},
        "augmentations.mix": {"name": "canopy_mix", "swap": 0.2, "cutmix": 0.3, "mixup": 0.3},
        "augmentations.flips": {"name": "flip_rotate"},
        "augmentations.tilt": {"name": "tilt"},
        "augmentations.hills": {"name": "hills", "relief_m": 3},
        "model": {"dropout": 0.2, "drop_path": 0.3},
        "normalization": {"name": "batch"},
        "loss": {"name": "focal_dice"},
        "scheduler": {"name": "warmup_cosine"},
        "training": {"epochs": 2},
        "callbacks.average": {"name": "ema_weights"},
        "callbacks.log": {"name": "json_lines", "every": 1},
        "callbacks.interrupt": {"name": "interrupt"},
    }
)


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins.discover([INTERRUPT])


@pytest.fixture(scope="module")
def undisturbed(plugins, tmp_path_factory):
    """The end of a run never stopped, with no loader processes, by its other settings; each is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def run(changes: tuple[str, ...]) -> Path:
        if changes not in made:
            made[changes] = tmp_path_factory.mktemp("undisturbed") / "run"
            train(made[changes], plugins, [*changes, "environment.workers=0"])
        return made[changes]

    return run


def train(folder: Path, plugins: Plugins, changes: list[str]) -> Any:
    path = folder.with_suffix(".toml")
    path.write_text(RUN)
    return train_model(load_config(path, overrides=changes, plugins=plugins), folder, plugins=plugins)


def with_workers(folder: Path, count: int) -> None:
    path = folder / "run.toml"
    text, found = re.subn(r"(?m)^workers = \d+$", f"workers = {count}", path.read_text())
    assert found == 1
    path.write_text(text)


def assert_same_end(one: Path, other: Path) -> None:
    left, right = (load_checkpoint(folder / "checkpoints" / "last.safetensors") for folder in (one, other))
    for part in ("position", "model", "optimizer", "loss_sum", "callbacks", "scheduler", "scaler"):
        assert_same(left[part], right[part], part)
    assert (one / "log.jsonl").read_bytes() == (other / "log.jsonl").read_bytes()


def assert_same(one: Any, other: Any, place: str) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    else:
        assert one == other, place


EACH, ACCUMULATED = [], ["training.accumulate=3"]
FP32, BF16 = [], ["environment.precision=bf16"]
PROCESSES = [(0, 0), (2, 2), (4, 4), (0, 2), (4, 0)]
# Each way to read, to add up and to round once; starting the processes that read takes most of the time.
QUICK = [(0, 0, EACH, FP32), (0, 0, ACCUMULATED, BF16), (2, 2, EACH, BF16), (0, 2, ACCUMULATED, FP32)]


def combinations() -> Iterator[Any]:
    for (first, then), accumulation, precision in product(PROCESSES, (EACH, ACCUMULATED), (FP32, BF16)):
        name = f"{first}-{then}-{'accumulated' if accumulation else 'each'}-{'bf16' if precision else 'fp32'}"
        marks = () if (first, then, accumulation, precision) in QUICK else pytest.mark.slow
        yield pytest.param(first, then, accumulation, precision, id=name, marks=marks)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize(("first", "then", "accumulation", "precision"), list(combinations()))
def test_a_resume_in_the_middle_of_an_epoch_is_exact(first, then, accumulation, precision, plugins, undisturbed, tmp_path):
    changes = (*accumulation, *precision)
    steps = 3 if accumulation else 7
    folder = tmp_path / "run"
    at = steps + 2  # in the middle of the second epoch
    stopped = train(folder, plugins, [*changes, f"environment.workers={first}", f"callbacks.interrupt.at={at}"])
    assert stopped.stopped == "interrupted by the test"
    position = load_checkpoint(folder / "checkpoints" / "last.safetensors")["position"]
    assert (position["epoch"], position["step"]) == (1, at)
    with_workers(folder, then)
    assert resume_training(folder, plugins=plugins).stopped is None
    assert_same_end(folder, undisturbed(changes))


def test_weights_learned_inside_a_sum_are_resumed_exactly(plugins, undisturbed, tmp_path):
    learned = '{name = "mixture", parts = {pixels = {name = "bce"}, overlap = {name = "dice"}}}'
    changes = [f'loss={{name = "sum", weights = {{plain = 0.5}}, parts = {{learned = {learned}, plain = {{name = "focal"}}}}}}']
    folder = tmp_path / "run"
    train(folder, plugins, [*changes, "environment.workers=0", "callbacks.interrupt.at=9"])
    assert resume_training(folder, plugins=plugins).stopped is None
    state = load_checkpoint(folder / "checkpoints" / "last.safetensors")
    assert state["loss"]["trainable.0.log_variance"].abs().min() > 0
    assert_same_end(folder, undisturbed(tuple(changes)))


def test_a_run_stopped_after_every_step_is_exact(plugins, undisturbed, tmp_path):
    folder = tmp_path / "run"
    result, starts = train(folder, plugins, ["environment.workers=0", "callbacks.interrupt.every=1"]), 1
    while result.stopped == "interrupted by the test":
        result, starts = resume_training(folder, plugins=plugins), starts + 1
    assert starts == 15  # one more than steps
    assert_same_end(folder, undisturbed(()))


def test_without_reseeding_dropout_would_differ(plugins, undisturbed, tmp_path):
    """The comparison above sees the randomness it is about: another seed in the resumed part is another end."""
    folder = tmp_path / "run"
    train(folder, plugins, ["environment.workers=0", "callbacks.interrupt.at=9"])
    path = folder / "run.toml"
    path.write_text(path.read_text().replace("seed = 0\nthreads", "seed = 1\nthreads"))
    resume_training(folder, plugins=plugins)
    with pytest.raises(AssertionError, match="model"):
        assert_same_end(folder, undisturbed(()))
