"""What could run a text or a file is used in few places, each known: this list is the review of the next one."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Calls that run what they are given, or import it by name, or unpickle it.
RUNNING = {
    "eval", "exec", "compile", "__import__", "import_module", "exec_module", "load_module", "run_path", "run_module",
    "pickle.loads", "pickle.load", "marshal.loads", "marshal.load", "shelve.open", "joblib.load", "dill.loads", "cloudpickle.loads",
    "yaml.load", "os.system", "os.popen", "subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output",
    "torch.load", "np.load", "numpy.load", "torch.hub.load", "torch.jit.load", "jsonpickle.decode", "extractall", "unpack_archive",
}  # fmt: skip
# Where they are used, how often, and of what.
KNOWN = {
    ("forestgaps_core/cli/installing.py", "subprocess.run"): 1,  # the installer of the environment, with --yes, without a shell
    ("forestgaps_core/lazy_exports.py", "import_module"): 1,  # of the modules that a package exports
    ("forestgaps_core/inference/model_folder.py", "import_module"): 1,  # a package that brings a network along
    ("forestgaps_core/plugins/local_files.py", "compile"): 1,  # of a file given with -p
    ("forestgaps_core/plugins/local_files.py", "exec"): 1,  # of the same
    ("forestgaps_core/plugins/local_files.py", "pickle.loads"): 2,  # in workers and on a cluster, of what this program sent
    ("forestgaps_core/plugins/entry_points.py", "import_module"): 1,  # of the entry points of installed plugins
    ("forestgaps_core/plugins/names.py", "import_module"): 1,  # of the targets of installed plugins
    ("forestgaps_baselines/bulldozer_dtm.py", "subprocess.run"): 1,  # Python, to run a library in a process of its own
    ("forestgaps_core/testing/plugin_checks.py", "import_module"): 1,  # of the package that holds a recipe or network
    ("forestgaps_core/testing/plugin_checks.py", "subprocess.run"): 1,  # Python, to import a plugin in a process of its own
    ("forestgaps_core/plugins/loading.py", "import_module"): 1,  # of the entry points of installed plugins
    ("forestgaps_geo/testing/gdal_commands.py", "subprocess.run"): 1,  # of printed command lines, in tests
    ("forestgaps_tracking/testing.py", "subprocess.run"): 1,  # Python, with a tracker that is killed, in tests
    ("forestgaps_export/onnx_program.py", "import_module"): 1,  # of ONNX, if it is installed
    ("forestgaps_export/onnx_runtime.py", "import_module"): 1,
    ("forestgaps_quantization/ranges.py", "import_module"): 1,  # of torchao, if it is installed
    ("forestgaps_pretrained/retrain.py", "subprocess.run"): 1,  # this program's own commands
}


def sources() -> list[Path]:
    return [*ROOT.glob("forestgaps_core/**/*.py"), *ROOT.glob("plugins/*/forestgaps_*/**/*.py")]


def name_of(path: Path) -> str:
    """Return the path inside its package, such as `forestgaps_core/files/checkpoint.py`."""
    return re.search(r"(?<=/)forestgaps_.*", path.as_posix().removeprefix(ROOT.as_posix()))[0]


def words(function: ast.expr) -> str:
    """`torch.load` of `torch.load(...)`; of what is deeper, its end."""
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute):
        inner = function.value.id if isinstance(function.value, ast.Name) else ""
        whole = f"{inner}.{function.attr}"
        return whole if whole in RUNNING else function.attr
    return ""


def uses(path: Path) -> Iterator[str]:
    """Each mention, called or handed on."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load) and words(node) in RUNNING:
            if words(node) in ("compile", "eval") and isinstance(node, ast.Attribute):
                continue  # `re.compile`, and networks told to evaluate
            yield words(node)


def found() -> Counter[tuple[str, str]]:
    table: Counter[tuple[str, str]] = Counter()
    for path in sources():
        place = path.relative_to(next(parent for parent in path.parents if (parent / "pyproject.toml").is_file())).as_posix()
        table.update((place, name) for name in uses(path))
    return table


def test_nothing_else_runs_what_it_is_given():
    there = {name_of(path) for path in sources()}
    assert dict(found()) == {key: count for key, count in KNOWN.items() if key[0] in there}


def test_tables_of_contents_run_nothing():
    for path in sources():
        if path.name == "__init__.py":
            assert not set(uses(path)), path


def test_torch_writes_and_reads_no_pickles():
    """Checkpoints and model folders are safetensors; pickles go between this program's own processes only."""
    saving = {"torch.save", "pickle.dump", "pickle.dumps"}
    there = {
        (name_of(path), f"{node.value.id}.{node.attr}")
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and f"{node.value.id}.{node.attr}" in saving
    }
    assert there == {("forestgaps_core/plugins/local_files.py", "pickle.dumps")}
    assert not [key for key in found() if key[1] == "torch.load"]
