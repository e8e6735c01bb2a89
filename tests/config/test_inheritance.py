"""Run files that inherit: what results, where each value comes from, and what is refused."""

from __future__ import annotations

import tomllib

import pytest

from forestgaps_core import load_config
from forestgaps_core.config.inheritance import find_lines, read_run_file
from forestgaps_core.config.resolved import explain_resolved
from forestgaps_core.errors import ConfigError


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.toml").parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.toml").write_text(text)
    return folder / f"{next(iter(files))}.toml"


def read(folder, **files):
    return read_run_file(write(folder, **files))[0]


BASE = '[loss]\nname = "focal"\ngamma = 1.0\nalpha = 0.5\n[metrics.a]\nname = "gap_iou"\n'


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        ("[loss]\ngamma = 2.0", {"name": "focal", "gamma": 2.0, "alpha": 0.5}),
        ('[loss]\nname = "focal"\ngamma = 2.0', {"name": "focal", "gamma": 2.0, "alpha": 0.5}),
        ('[loss]\nname = "forestgaps-losses:focal"', {"name": "forestgaps-losses:focal", "gamma": 1.0, "alpha": 0.5}),
        ('[loss]\nname = "dice"\neps = 0.1', {"name": "dice", "eps": 0.1}),
        ("[loss]", {}),
        ("loss = 3", 3),
    ],
)
def test_a_table_merges_unless_its_name_changes(tmp_path, text, loss):
    table = read(tmp_path, run=f'base = "other.toml"\n{text}\n', other=BASE)
    assert table == {"loss": loss, "metrics": {"a": {"name": "gap_iou"}}}


def test_labels_are_merged_and_an_empty_table_removes_them(tmp_path):
    more = read(tmp_path, run='base = "other.toml"\n[metrics.b]\nname = "auroc"\n', other=BASE)
    assert list(more["metrics"]) == ["a", "b"]
    none = read(tmp_path, run='base = "other.toml"\n[metrics]\n', other=BASE)
    assert none["metrics"] == {}


def test_several_levels_and_relative_paths_start_at_the_folder_of_their_file(run_file, plugins, tmp_path):
    table = tomllib.loads(run_file.read_text())
    middle = tmp_path / "shared" / "middle.toml"
    middle.parent.mkdir()
    middle.write_text(f'base = "../{run_file.name}"\n[training]\nepochs = 3\nstart = "weights"\n')
    (middle.parent / "weights").mkdir()
    last = write(tmp_path / "mine", run='base = "../shared/middle.toml"\n[training]\nbatch_size = 2\n')
    config = load_config(last, plugins=plugins)
    assert (config.training.epochs, config.training.batch_size) == (3, 2)
    assert config.training.start == str(middle.parent / "weights").replace("shared", "mine/../shared")
    assert config.names["loss"].endswith(table["loss"]["name"].rpartition(":")[2])


def test_a_path_of_an_override_starts_at_the_folder_of_the_run_file(run_file, plugins, tmp_path):
    (tmp_path / "mine" / "weights").mkdir(parents=True)
    last = write(tmp_path / "mine", run=f'base = "../{run_file.name}"\n')
    config = load_config(last, overrides=["training.start=weights"], plugins=plugins)
    assert config.training.start == str(tmp_path / "mine" / "weights")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"run": "base = 3"}, "base: found 3, expected the path of a run file"),
        ({"run": 'base = ""'}, "base: found '', expected the path of a run file"),
        ({"run": "[base]\nx = 1"}, "base: found {'x': 1}, expected the path of a run file"),
        ({"run": 'base = "a\\u0007b"'}, "which has control characters"),
        ({"run": 'base = "othr.toml"', "other": ""}, r"base: .*othr\.toml: no such file \(did you mean 'other\.toml'\?\)"),
        ({"run": 'base = "run.toml"'}, r"base: leads in a circle: .*run\.toml > .*run\.toml"),
        ({"run": 'base = "b.toml"', "b": 'base = "run.toml"'}, r"leads in a circle: .*run\.toml > .*b\.toml > .*run\.toml"),
        ({"run": 'base = "b.toml"', "b": "= 1"}, r"base: .*b\.toml: is not TOML"),
        ({"run": 'base = "."'}, "base: .*is a folder, not a run file; name a .toml file, such as .*run.toml"),
        ({"run": 'base = "b.toml"', "b": 'base = "c.toml"'}, r"base: .*b\.toml: base: .*c\.toml: no such file"),
        ({f"{'run' if n == 0 else f'r{n}'}": f'base = "r{n + 1}.toml"' for n in range(20)}, "more than 16 files inherit"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused_with_its_place(tmp_path, files, sentence):
    with pytest.raises(ConfigError, match=sentence) as caught:
        read(tmp_path, **files)
    assert caught.value.source == str(tmp_path / "run.toml")


def test_lines_are_those_of_the_values():
    text = (
        '# base\nbase = "x"\n\n[loss]\nname = "sum"\nparts = {a = {name = "dice"},\n  }\nlist = [\n  1,\n  2]\n'
        'text = """\n[loss]\ngamma = 1\n"""\nlast.one = 1\n[[loss.more]]\nname = "x"\n[augmentations]\n"a.b" = 1 # [c]\n'
    ).replace("},\n  }", "}}")
    assert find_lines(text) == {
        ("base",): 2,
        ("loss",): 4,
        ("loss", "name"): 5,
        ("loss", "parts", "a", "name"): 6,
        ("loss", "list"): 7,
        ("loss", "text"): 10,
        ("loss", "last", "one"): 14,
        ("loss", "more"): 15,
        ("loss", "more", "name"): 16,
        ("augmentations",): 17,
        ("augmentations", "a.b"): 18,
    }


def test_what_results_is_explained_with_file_and_line_or_override_or_default(run_file, plugins, tmp_path):
    last = write(tmp_path / "mine", run=f'base = "../{run_file.name}"\n\n[training]\nbatch_size = 2\n')
    lines = explain_resolved(last, ["training.accumulate=3"], plugins).splitlines()
    assert f"training.batch_size = 2  # {last}, line 4" in lines
    assert "training.accumulate = 3  # --set" in lines
    assert "training.max_gradient_norm = 1.0  # default" in lines
    assert any(line.startswith("loss.name = ") and f"{run_file.name}, line " in line for line in lines)
    resolved = tomllib.loads("\n".join(lines))
    assert resolved["training"]["max_gradient_value"] == float("inf")
    (tmp_path / "again.toml").write_text("\n".join(lines))
    assert load_config(tmp_path / "again.toml", plugins=plugins) == load_config(
        last, overrides=["training.accumulate=3"], plugins=plugins
    )
