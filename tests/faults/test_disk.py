"""Disks that are full, read-only, slow, gone or damaged."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from forestgaps_core.errors import CheckpointError, DiskError
from forestgaps_core.files.atomic import new_file, write_text
from forestgaps_core.files.checkpoint import load_checkpoint, save_checkpoint
from forestgaps_core.files.drafts import new_folder

from . import disk as disks
from . import disk_scenes as scenes

ALL = os.environ.get("FORESTGAPS_FAULTS") == "all"
layer = pytest.mark.compiler  # the failing disk is a C library for Linux
SCENES = {scene.name: scene for scene in scenes.SCENES}
STATE = {
    "about": {},
    "position": {"epoch": 1, "batch": 0, "step": 5, "stopped": None},
    "model": {"weight": torch.arange(64.0)},
    "callbacks": {},
}


# --- every command, every call ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[scenes.Sweep]:
    pytest.importorskip("forestgaps_landscapes")
    pytest.importorskip("rasterio")
    folder = tmp_path_factory.mktemp("disk")
    (folder / "control").mkdir()
    with disks.commands(folder / "control") as (disk, run):
        yield scenes.Sweep(folder, disk, run, land=ALL)


@layer
@pytest.mark.parametrize("name", list(SCENES) if ALL else ["config init", "plugins new", "train"])
def test_a_failing_disk_is_named_and_costs_nothing_that_was_there(sweep: scenes.Sweep, name: str) -> None:
    scene = SCENES[name]
    calls = sweep.calls(scene)
    numbers = scenes.chosen(calls, 3 if ALL else 1)
    if not ALL:
        numbers = numbers[1 :: max(1, len(numbers) // 2)][:2]
    for number in numbers:
        for error, kind in scenes.cases(number, disks.ERRORS, every=ALL):
            made = sweep.trial(scene, number, calls[number - 1], error, kind)
            assert not made.wrong, f"{error} {kind} at {made.call} of {made.path}: {made.wrong}\n{made.said}"


@layer
def test_a_slow_disk_costs_time_only(sweep: scenes.Sweep) -> None:
    """A call takes 5 ms longer; as many checkpoints are written, after the same steps, with the same bytes."""
    scene = SCENES["train"]
    quick = sweep.calls(scene)
    sweep.fresh(scene)
    sweep.disk.fail(sweep.work, first=0, delay_s=0.005, log=True)
    status, _, said = sweep.run.run(*scene.arguments(sweep.given, sweep.work), cwd=sweep.work)
    assert status == 0, said
    assert list(sweep.different(scene, scenes.tree(sweep.work), True)) == []
    written = [
        [path for call, path in calls if call == "rename" and path.endswith(".safetensors")]
        for calls in (quick, sweep.disk.calls())
    ]
    assert written[0] == written[1] and sum(path.endswith("last.safetensors") for path in written[0]) >= 4


# --- damaged checkpoints ----------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.safetensors", STATE)
    assert load_checkpoint(tmp_path / "last.safetensors")["position"]["step"] == 5
    return tmp_path / "last.safetensors"


def test_every_bit_that_flips_is_noticed(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    bits = range(8 * len(whole)) if ALL else random.Random(0).sample(range(8 * len(whole)), 2000)
    for bit in bits:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        checkpoint.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"last\.safetensors"):
            load_checkpoint(checkpoint)


def test_every_length_it_is_cut_to_is_noticed(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    lengths = range(len(whole)) if ALL else [*range(60), *random.Random(0).sample(range(len(whole)), 500), len(whole) - 1]
    for length in lengths:
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"last\.safetensors"):
            load_checkpoint(checkpoint)


def test_other_damage_is_noticed(checkpoint: Path) -> None:
    whole, middle = checkpoint.read_bytes(), checkpoint.stat().st_size // 2
    for data in (whole + b"\0", whole[:middle] + bytes(512) + whole[middle + 512 :], whole[:-64] + whole[-63:], bytes(len(whole))):
        checkpoint.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"last\.safetensors"):
            load_checkpoint(checkpoint)


@layer
def test_a_run_continues_from_the_newest_intact_checkpoint_and_names_those_that_are_damaged(sweep: scenes.Sweep) -> None:
    sweep.disk.heal()
    shutil.rmtree(sweep.work, ignore_errors=True)
    run = sweep.work / "run"
    shutil.copytree(sweep.given / "run", run)
    folder = run / "checkpoints"
    for name in ("last", "best"):
        harm(folder / f"{name}.safetensors", "flipped" if name == "last" else "cut")
    harm(folder / "best-epoch-0002.safetensors", "empty")
    for age, name in enumerate(("last", "best", "best-epoch-0002", "best-epoch-0001")):
        os.utime(folder / f"{name}.safetensors", (2e9 - age, 2e9 - age))
    commands = [["test", run], ["predict", run, sweep.given / "land" / "dsm.tif", "--out", sweep.work / "maps"]]
    for command in commands if ALL else commands[:1]:
        status, _, said = sweep.run.run(*command, cwd=sweep.work)
        assert status == 2 and "best.safetensors is damaged" in said and "--checkpoint best-epoch-0001" in said, said
    status, _, said = sweep.run.run("test", run, "--checkpoint", "best-epoch-0001", cwd=sweep.work)
    assert status == 0, said
    status, _, said = sweep.run.run("train", "--resume", run, cwd=sweep.work)
    assert status == 0 and said.count("damaged") == 3 and "best-epoch-0001.safetensors instead" in said, said
    for name in ("log.jsonl", "table_steps.csv", "table_epochs.csv"):
        assert (run / name).read_bytes() == (sweep.given / "run" / name).read_bytes(), name
    for name in ("last", "best", "best-epoch-0002"):
        mended, before = (load_checkpoint(place / "checkpoints" / f"{name}.safetensors") for place in (run, sweep.given / "run"))
        assert mended["position"] == before["position"], name
        assert all(torch.equal(mended["model"][key], before["model"][key]) for key in before["model"]), name


def harm(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 8
    path.write_bytes({"flipped": data, "cut": data[: len(data) // 2], "empty": b""}[how])


# --- real disks -------------------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A small disk in memory."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.mounts
def test_on_a_disk_that_is_full_the_earlier_checkpoint_stands(tmp_path: Path) -> None:
    state = {**STATE, "model": {"weight": torch.rand(60_000)}}
    with mounted(tmp_path / "disk", "400k") as disk:
        save_checkpoint(disk / "last.safetensors", state)
        before = (disk / "last.safetensors").read_bytes()
        with pytest.raises(
            DiskError, match=r"last\.safetensors could not be written: no space left.*240 kB needed, .* free.*earlier checkpoints"
        ):
            save_checkpoint(disk / "last.safetensors", state)
        assert (disk / "last.safetensors").read_bytes() == before
        assert [path.name for path in disk.iterdir()] == ["last.safetensors"]
        with (
            pytest.raises(DiskError, match=r"folder could not be written: no space left"),
            new_folder(disk / "folder", contents=["*"]) as draft,
        ):
            (draft / "file").write_bytes(bytes(300_000))
        assert [path.name for path in disk.iterdir()] == ["last.safetensors"]
        save_checkpoint(disk / "small.safetensors", STATE)
        load_checkpoint(disk / "last.safetensors")


@pytest.mark.mounts
def test_on_a_disk_mounted_for_reading_only(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "400k") as disk:
        write_text(disk / "there", "before")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(DiskError, match=r"there could not be written: read-only file system.*write elsewhere"):
            write_text(disk / "there", "after")
        assert (disk / "there").read_text() == "before"


def test_in_a_folder_one_may_not_write_to(tmp_path: Path) -> None:
    write_text(tmp_path / "mine" / "there", "before")
    (tmp_path / "mine").chmod(0o555)
    child = os.fork() if hasattr(os, "fork") else pytest.skip("needs another user")
    if not child:
        status = 1
        try:
            if os.geteuid() == 0:  # whom permissions do not bind
                tmp_path.parent.parent.chmod(0o755)
                for folder in (tmp_path, tmp_path.parent):
                    folder.chmod(0o755)
                os.setgid(65534)
                os.setuid(65534)
            try:
                write_text(tmp_path / "mine" / "there", "after")
            except DiskError as error:
                status = 0 if "there could not be written: permission denied; you may not write there" in str(error) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "mine" / "there").read_text() == "before"


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    save_checkpoint(tmp_path / "last.safetensors", STATE)
    for limit in (0, 100, 4096):  # in the zip's head, in its middle, after the weights
        resource.setrlimit(resource.RLIMIT_FSIZE, (min(limit, (tmp_path / "last.safetensors").stat().st_size - 1), before[1]))
        try:
            with pytest.raises(DiskError, match=r"last\.safetensors could not be written: file too large \(256 B needed"):
                save_checkpoint(tmp_path / "last.safetensors", STATE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        load_checkpoint(tmp_path / "last.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


# --- the failing disk itself ------------------------------------------------------------------------------------------


@layer
def test_the_layer_fails_the_call_it_is_set_to_and_no_other(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "for name in 'abc':\n"
        "    try:\n"
        "        open(sys.argv[1] + '/in/' + name, 'w').close(); print(name, 'made')\n"
        "    except OSError as error: print(name, error.errno)\n"
        "open(sys.argv[1] + '/outside', 'w').close()\n"
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "control").mkdir()
    disk, so = disks.Disk(tmp_path / "control"), disks.library(tmp_path)
    disk.fail(tmp_path / "in", error="ESTALE", calls=("open",), first=2, log=True)
    environment = {**os.environ, "LD_PRELOAD": str(so), "FAULT_CONTROL": str(disk.control)}
    said = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split("\n") == ["a made", f"b {disks.errno.ESTALE}", "c made", ""]
    assert disk.counts() == (3, 1)
    assert disk.calls() == [("open", str(tmp_path / "in" / name)) for name in "abc"]
    assert ctypes.CDLL(str(so)).fault_control  # a process may also be told later


def test_new_files_leave_nothing_behind_when_their_block_fails(tmp_path: Path) -> None:
    write_text(tmp_path / "there", "before")
    with pytest.raises(TypeError), new_file(tmp_path / "there") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert (tmp_path / "there").read_text() == "before" and len(list(tmp_path.iterdir())) == 1
