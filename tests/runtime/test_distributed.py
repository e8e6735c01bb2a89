"""Several processes, started by torchrun's own module, against one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from forestgaps_core.data.loader import Keys, Share
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.runtime.distributed import ALONE, Processes, find_processes

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE

SETTINGS = {
    "model.name": "plain",
    "loss.name": "each",
    "training.batch_size": 5,
    "data.samples": 18,
    "training.epochs": 2,
    "environment.threads": 1,
}
PLAIN = EXAMPLE_PLUGIN.with_name("plain_plugin.py")


def changes(**other):
    settings = SETTINGS | {key.replace("__", "."): value for key, value in other.items()}
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def command(processes, *arguments):
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    call = [
        sys.executable,
        *launch,
        "-m",
        "forestgaps_core",
        "-p",
        str(EXAMPLE_PLUGIN),
        "-p",
        str(PLAIN),
        "train",
        *map(str, arguments),
    ]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def trained(processes, *arguments):
    process = command(processes, *arguments)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def state(folder):
    return load_checkpoint(folder / "checkpoints" / "last.safetensors")


def assert_close(left, right, tolerance=1e-5):
    for name, weight in left["model"].items():
        torch.testing.assert_close(weight, right["model"][name], rtol=0, atol=tolerance)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "run.toml").write_text(RUN_FILE)
    assert trained(1, folder / "run.toml", "--out", folder / "run", *changes()).count("Trained 2 epochs (complete)") == 1
    return folder / "run"


def test_two_processes_end_where_one_does(run_file, tmp_path, alone):
    together = trained(2, run_file, "--out", tmp_path / "two", *changes())
    assert together.count("Trained 2 epochs (complete)") == 1
    assert_close(state(alone), state(tmp_path / "two"))
    assert state(alone)["position"] == state(tmp_path / "two")["position"]


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_a_checkpoint_of_one_process_serves_two_and_the_other_way_round(run_file, tmp_path, alone, first, second):
    trained(first, run_file, "--out", tmp_path / "run", *changes(training__epochs=1))
    text = (tmp_path / "run" / "run.toml").read_text()
    (tmp_path / "run" / "run.toml").write_text(text.replace("epochs = 1", "epochs = 2"))
    trained(second, "--resume", tmp_path / "run")
    assert_close(state(tmp_path / "run"), state(alone))


def test_a_process_that_is_killed_ends_the_run_with_its_last_checkpoint_whole(run_file, tmp_path):
    process = command(2, run_file, "--out", tmp_path / "run", *changes(training__epochs=4000, callbacks__notes__every=1))
    last, deadline = tmp_path / "run" / "checkpoints" / "last.safetensors", time.monotonic() + 600
    while not last.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(listed.stdout.split()[-1]), signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "forestgaps_core/training/trainer.py" not in output  # a sentence, and no traceback but torchrun's own
    assert state(tmp_path / "run")["position"]["step"] > 0


# --- shares ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 5, 18, 19])
def test_shares_of_a_batch_are_the_batch_and_every_sample_counts_the_same(samples):
    whole = list(Keys(samples, 5, seed=3, shuffle=True))
    parts = [Keys(samples, 5, seed=3, shuffle=True, share=Share("samples", part, 3)) for part in range(3)]
    read = [list(keys) for keys in parts]
    for number, batch in enumerate(whole):
        weights = [keys.weight(number) for keys in parts]
        together = [key for part, weight in zip(read, weights, strict=True) if weight for key in part[number]]
        assert together == batch
        assert sum(weights) == pytest.approx(3)
        per_sample = {weight / len(part[number]) for part, weight in zip(read, weights, strict=True) if weight}
        assert len({round(value, 12) for value in per_sample}) == 1
        assert all(part[number] for part in read)


def test_shares_of_batches_are_each_batch_once():
    parts = [list(Keys(18, 5, seed=3, shuffle=False, share=Share("batches", part, 3))) for part in range(3)]
    assert sorted(key for part in parts for batch in part for key in batch) == sorted(
        key for batch in Keys(18, 5, seed=3, shuffle=False) for key in batch
    )


def test_the_environment_says_who_is_who():
    assert find_processes({}) == ALONE
    assert find_processes({"RANK": "0", "WORLD_SIZE": "1"}) == ALONE
    said = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert find_processes(said) == Processes(3, 4, 1, 2)
    with pytest.raises(ForestgapsError, match="LOCAL_RANK"):
        find_processes({"RANK": "3", "WORLD_SIZE": "4"})
