"""A package with a kind of its own, a wrapper around builds and old names; installed as a wheel, with public names only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from forestgaps_core.files.checkpoint import load_run_checkpoint

from .conftest import RUN_FILE
from .test_third_party import machine as machine

PACKAGE = Path(__file__).parent / "packages" / "canopy-teachers"
WITH_TEACHER = (
    RUN_FILE.replace('name = "binary"', 'name = "distil"\nweight = 3.0')
    + '\n[teacher]\nname = "blurred"\nradius = 5\n\n[callbacks.halt]\nname = "halt"\n'
)


def test_a_package_with_a_kind_a_wrapper_and_old_names(machine):
    source = machine.folder / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    machine.pip("install", "--no-deps", "--no-build-isolation", str(source))
    (machine.folder / "run.toml").write_text(WITH_TEACHER)

    whole = machine.forestgaps("train", "run.toml", "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    for sentence in (
        "the loss 'canopy-teachers:distil' was renamed to 'distilled' in version canopy-teachers 0.3; use the new name",
        "the teacher 'canopy-teachers:blurred' was renamed to 'smooth' in version canopy-teachers 0.2; use the new name",
        "the setting 'radius' of Smooth was renamed to 'width' in version 0.2; use the new name",
    ):
        assert sentence in whole.stderr
    resolved = (machine.folder / "whole" / "run.toml").read_text()
    assert '[teacher]\nname = "canopy-teachers:smooth"\nwidth = 5' in resolved
    assert 'name = "canopy-teachers:distilled"' in resolved
    assert (machine.folder / "whole" / "calls.txt").read_text() == "24"  # in 12 steps and 12 batches of validation
    assert json.loads((machine.folder / "whole" / "versions.json").read_text())["canopy-teachers"] == "0.3.1"

    # Interrupted in an epoch and resumed, it ends with the same bits: the state of the teacher is in the checkpoint.
    machine.environment = {"CANOPY_HALT": "1"}
    halted = machine.forestgaps("train", machine.folder / "whole" / "run.toml", "--out", "halted")
    assert "renamed" not in halted.stderr
    machine.environment = {}
    _, state = load_run_checkpoint(machine.folder / "halted", "last")
    assert (state["position"]["step"], state["further"]) == (5, {"teacher": {"calls": 9}})
    assert state["about"]["components"]["loss"] == {
        "name": "distilled",
        "distribution": "canopy-teachers",
        "version": "0.3.1",
        "altered_by": {"canopy-teachers": "0.3.1"},
    }
    assert "altered_by" not in state["about"]["components"]["model"]
    resumed = machine.forestgaps("train", "--resume", "halted")
    assert resumed.returncode == 0, resumed.stderr
    (_, one), (_, other) = (load_run_checkpoint(machine.folder / name, "last") for name in ("whole", "halted"))
    assert one["further"] == other["further"] == {"teacher": {"calls": 24}}
    assert all(torch.equal(tensor, other["model"][key]) for key, tensor in one["model"].items())

    shown = machine.forestgaps("plugins", "show", "canopy-teachers").stdout
    for line in (
        "kind teacher  a function of a batch that returns logits, from which a loss may learn",
        "forestgaps_build  is called around the building of every component",
        "teacher.smooth  canopy_teachers.teachers:Smooth",
        "teacher.blurred  old name of smooth",
    ):
        assert f"  {line}\n" in shown
    assert "teacher.smooth" in machine.forestgaps("plugins", "list", "--components").stdout
    checked = machine.forestgaps("plugins", "check", "canopy-teachers").stdout
    assert "canopy-teachers 0.3.1: teacher.smooth: right" in checked
    explained = machine.forestgaps("config", "explain", "teacher.smooth").stdout
    assert "width = 3" in explained

    disabled = machine.forestgaps("-p", "no:canopy-teachers", "train", "--resume", "halted")
    assert disabled.returncode == 2
    assert "the run halted cannot be used: canopy-teachers 0.3.1 is disabled by -p no:canopy-teachers" in disabled.stderr
    again = machine.forestgaps("-p", "no:canopy-teachers", "train", "run.toml", "--out", "again")
    assert again.returncode == 2
    assert "loss.name: no loss named 'distil'" in again.stderr
    assert "canopy-teachers 0.3.1 (disabled: by -p no:canopy-teachers)" in again.stderr
    assert "teacher: unknown table" in again.stderr


def test_a_run_that_another_package_altered_needs_it_to_resume(machine):
    source = machine.folder / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    (machine.folder / "run.toml").write_text(RUN_FILE)
    assert machine.forestgaps("train", "run.toml", "--out", "plain").returncode == 0
    machine.pip("install", "--no-deps", "--no-build-isolation", str(source))
    wrapped = machine.forestgaps("train", "run.toml", "--out", "wrapped")
    assert wrapped.returncode == 0, wrapped.stderr
    warned = machine.forestgaps("train", "--resume", "plain")
    assert "plain: resuming with loss altered by canopy-teachers 0.3.1; results may differ" in warned.stderr
    machine.pip("uninstall", "-y", "canopy-teachers")
    resumed = machine.forestgaps("train", "--resume", "wrapped")
    assert resumed.returncode == 2
    assert "canopy-teachers 0.3.1 is not installed: pip install canopy-teachers==0.3.1" in resumed.stderr
