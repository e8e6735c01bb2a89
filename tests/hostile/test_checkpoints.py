"""A checkpoint is data: whoever made it, loading it runs nothing, and takes no more than it holds."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict

import pytest
import torch
from safetensors import deserialize, safe_open

from forestgaps_core import load_predictor, save_network
from forestgaps_core.errors import CheckpointError, ForestgapsError
from forestgaps_core.files.checkpoint import load_checkpoint, load_newest_checkpoint, save_checkpoint
from forestgaps_core.runs.run import evaluate_run, resume_training

from .payloads import TOO_MUCH, WAYS_IN, archive, called, carried, path


@pytest.mark.parametrize("way", WAYS_IN)
def test_nothing_in_a_checkpoint_is_executed(way, state, tmp_path, trap):
    data = WAYS_IN[way](state, trap)
    for name, content in carried(data).items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / f"{name}.safetensors")
        assert not trap.exists(), f"{way} was executed"


def test_the_payloads_have_their_effect_where_they_are_let(state, tmp_path, trap):
    for name, data in {
        "archive.pt": archive(called("os", "mkdir", path(trap))),
        "legacy.pt": WAYS_IN["legacy format"](state, trap),
        "state.pt": WAYS_IN["reduce in callbacks.notes"](state, trap),
        "code.pt": WAYS_IN["builtins.eval by call"](state, trap),
    }.items():
        (tmp_path / name).write_bytes(data)
        torch.load(tmp_path / name, weights_only=False)
        assert trap.exists(), name
        trap.rmdir()


@pytest.mark.parametrize("way", ["reduce in callbacks.notes", "legacy tar", "os.system by call"])
def test_nor_by_any_command_that_reads_one(way, run, state, tmp_path, trap, local_plugins):
    file = run / "checkpoints" / "last.safetensors"
    uses = (
        lambda: load_predictor(run, plugins=local_plugins),
        lambda: load_predictor(file, plugins=local_plugins),
        lambda: evaluate_run(run, plugins=local_plugins),
        lambda: resume_training(run, plugins=local_plugins),
        lambda: save_network(run, tmp_path / "shared", plugins=local_plugins),
        lambda: load_newest_checkpoint(run),
    )
    for content in carried(WAYS_IN[way](state, trap)).values():
        file.write_bytes(content)
        for use in uses:
            with pytest.raises(CheckpointError):
                use()
    assert not trap.exists()
    assert not (tmp_path / "shared").exists()


def test_the_command_line_reports_it_and_exits_with_status_2(run, state, trap, tmp_path):
    (run / "checkpoints" / "last.safetensors").write_bytes(WAYS_IN["os.mkdir by call"](state, trap))
    command = [sys.executable, "-m", "forestgaps_core", "publish", str(run), str(tmp_path / "shared")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert not trap.exists()


@pytest.mark.parametrize("what", TOO_MUCH)
def test_a_checkpoint_that_asks_for_more_than_it_holds_is_refused(what, tmp_path):
    (tmp_path / "last.safetensors").write_bytes(TOO_MUCH[what]())
    with pytest.raises(CheckpointError, match=r"last\.safetensors") as told:
        load_checkpoint(tmp_path / "last.safetensors")
    assert len(str(told.value)) < 1000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.safetensors"]
    assert not (tmp_path.parent / "outside").exists()


LIMITED = """\
import resource, sys
from pathlib import Path
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.errors import CheckpointError
pages = int(Path("/proc/self/statm").read_text().split()[0])
room = pages * resource.getpagesize() + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for name in sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_CPU, (int(resource.getrusage(resource.RUSAGE_SELF).ru_utime) + 20, -1))
    try:
        load_checkpoint(Path(name))
    except CheckpointError as error:
        print("MemoryError" if isinstance(error.__cause__, MemoryError) else "refused", Path(name).stem, str(error)[-100:])
"""


def test_a_checkpoint_is_refused_before_memory_or_time_is_spent(tmp_path):
    """With 256 MB and 20 seconds for each; the largest file has 8 MB."""
    for what, make in TOO_MUCH.items():
        (tmp_path / f"{what}.safetensors").write_bytes(make())
    files = sorted(map(str, tmp_path.glob("*.safetensors")))
    command = [sys.executable, "-c", LIMITED, str(256 << 20), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["refused"] * len(files), done.stdout


def test_a_checkpoint_with_everything_a_state_may_hold_is_read_back(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    state = {
        "about": {},
        "callbacks": {"kept": {"set": {1, 2.5, "x", None}, "tuple": (1, (2, ()), [3]), "bytes": b"\x00\xff", "wide": -(1 << 62)}},
        "model": {
            **network.state_dict(),
            **{str(kind): torch.ones(2).to(kind) for kind in (torch.float16, torch.bfloat16, torch.uint16, torch.bool, torch.int8)},
            "view": torch.arange(12.0).view(3, 4)[1:, ::2],
            "empty": torch.zeros(0, 3),
            "complex": torch.tensor([[1 + 2j, 3 - 4j]]).conj(),
            "one complex": torch.tensor(1j, dtype=torch.complex128),
            "number": torch.tensor(1.5, dtype=torch.float64),
            "parameter": torch.nn.Parameter(torch.ones(3)),
        },
        "metadata": network.state_dict(),  # an ordered dictionary with attributes
    }
    save_checkpoint(tmp_path / "last.safetensors", state)
    found = load_checkpoint(tmp_path / "last.safetensors")
    assert found["callbacks"] == state["callbacks"]
    for name, tensor in state["model"].items():
        assert torch.equal(found["model"][name], tensor), name
        assert found["model"][name].dtype == tensor.dtype
    assert found["metadata"]._metadata == network.state_dict()._metadata


HOLDING_ITSELF: list[object] = []
HOLDING_ITSELF.append(HOLDING_ITSELF)
LAUGHS: list[object] = [1]  # 100 to the power of 30 values
for _ in range(30):
    LAUGHS = [LAUGHS] * 100
OVERWRITTEN: OrderedDict[str, int] = OrderedDict()
OVERWRITTEN.items = 3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({(1, 2): 3}, "a key that is not a plain value"),
        (list(range(450_000)), "it holds more than 400,000 values"),
        (b"x" * 7_000_000, "its plain values and names take 9,333,.* bytes; at most 8,388,608 are read"),
        (torch.zeros(1).expand(1 << 40), "its tensors take 4,398,046,511,104 bytes; at most 8,589,934,592 are read"),
        (torch.zeros(2).to(torch.float8_e4m3fnuz), "at 'callbacks.one': a tensor of torch.float8_e4m3fnuz"),
        (torch.zeros(2, device="meta"), "at 'callbacks.one': a tensor that is not of plain numbers in memory"),
        (torch.zeros(2).to_sparse(), "at 'callbacks.one': a tensor that is not of plain numbers in memory"),
        ({"a": [0, {"b": 1 << 70}]}, r"at 'callbacks.one.a.1.b': a whole number of 71 bits"),
        (HOLDING_ITSELF, "it is nested more than 100 deep"),
        (LAUGHS, "it holds more than 400,000 values"),
        (OVERWRITTEN, "at 'callbacks.one': a dictionary with 'items' overwritten"),
        ({(1,)}, "at 'callbacks.one': a set of something else than plain values"),
        (bytearray(3), "a bytearray, which is neither a plain value nor a tensor"),
    ],
)
def test_what_could_not_be_loaded_again_is_not_written(value, reason, tmp_path):
    with pytest.raises(CheckpointError, match=f"was not written, because it could not be loaded again.*{reason}"):
        save_checkpoint(tmp_path / "last.safetensors", {"about": {}, "model": {}, "callbacks": {"one": value}})
    assert not list(tmp_path.iterdir())


def test_those_of_the_payloads_that_safetensors_can_read_are_refused_by_us():
    """So that the checks above are seen to be needed."""
    for what in ("deep", "many_numbers", "long_number", "missing_tensor", "tensor_twice", "unused_tensor", "kind_that_is_unknown"):
        deserialize(TOO_MUCH[what]())


def test_a_network_has_no_more_values_than_its_weights(run, state, local_plugins):
    """A file of kilobytes that asks for a network of hundreds of megabytes, or of any size."""
    state["about"]["config"]["model"]["width"] = 10_000_000
    save_checkpoint(run / "checkpoints" / "last.safetensors", state)
    with pytest.raises(CheckpointError, match="asks for a network of more than"):
        load_predictor(run, plugins=local_plugins)


# --- names ----------------------------------------------------------------------------------------------------------

NAMES = (
    "trap:Config",
    "trap.Config",
    "trap",
    "trap:Config.build",
    "forestgaps-core:trap",
    "os:system",
    "../../trap",
    "__import__('trap')",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["model", "normalization"])
def test_no_name_in_a_checkpoint_is_imported(kind, name, run, state, trap, local_plugins):
    """As in CVE-2026-58659, where a hyperparameter named what to import."""
    state["about"]["config"][kind]["name"] = name
    state["about"]["components"][kind] = {"name": name, "distribution": "trap", "version": name}
    save_checkpoint(run / "checkpoints" / "last.safetensors", state)
    with pytest.raises(CheckpointError, match=r"no .* named|is not installed|offers no"):
        load_predictor(run, plugins=local_plugins)
    assert not trap.exists()


@pytest.mark.parametrize(
    "key",
    ["_target_", "class_path", "_class_path", "_instantiator", "__class__", "__reduce__", "py/object", "!!python/object", "target"],
)
def test_no_setting_in_a_checkpoint_is_imported(key, run, state, trap, local_plugins):
    for kind in ("model", "normalization", "environment", "thresholds"):
        about = dict(state["about"])
        config = {**about["config"], kind: {**about["config"][kind], key: "trap.Config"}}
        save_checkpoint(run / "checkpoints" / "last.safetensors", {**state, "about": {**about, "config": config}})
        with pytest.raises(CheckpointError, match="unknown key"):
            load_predictor(run, plugins=local_plugins)
    assert not trap.exists()


def test_a_checkpoint_is_chosen_by_name_and_not_by_path(run, tmp_path, local_plugins):
    (tmp_path / "elsewhere.safetensors").write_bytes((run / "checkpoints" / "last.safetensors").read_bytes())
    for name in ("../../elsewhere", str(tmp_path / "elsewhere"), "..", ""):
        with pytest.raises(ForestgapsError):
            load_predictor(run, checkpoint=name or "../checkpoints/../../elsewhere", plugins=local_plugins)


def test_any_program_that_reads_safetensors_reads_the_tensors_of_a_checkpoint(pristine, state):
    with safe_open(pristine / "checkpoints" / "last.safetensors", framework="pt") as file:
        for name, weights in state["model"].items():
            assert torch.equal(file.get_tensor(f"model/{name}"), weights)
