"""Train the network `pretrained` again, with one command:

    python -m forestgaps_pretrained.retrain --westport FOLDER --out FOLDER

The folder of --westport contains dsm.tif and dtm.tif of the site nz_westport. Each step is a command of forestgaps: simulate
landscapes, prepare them with the northern half of the site, train with `run.toml` of this package, export the network. Then the
network is evaluated on the held-out areas, and the model card is written. Seeds are fixed: the same machine gives the same network.

Intermediate files are kept in --work. To resume after an interruption, repeat the command.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from forestgaps_core.components import Tile
from forestgaps_core.errors import CheckpointError, DataError, ForestgapsError
from forestgaps_core.files.atomic import remove_temporary_files, write_json
from forestgaps_core.files.drafts import new_folder
from forestgaps_core.files.removal import remove_made
from forestgaps_core.files.safe_opening import read_json, read_text
from forestgaps_pretrained.areas import SimulatedSite, format_site_list, list_simulated_sites, list_test_areas

RESOLUTION_M = 1.0
MAX_SIDE_PX = 1024  # longest side of the real site at its own pixel size
LAYER_FILES = ("dsm.tif", "dtm.tif", "chm.tif")
NETWORK_FILES = ("README.md", "model.safetensors", "network.json", "scores.json")
FOLDER_ARGUMENTS = ("westport", "out", "work", "trained")


class Plan(NamedTuple):
    """Settings of the training.

    Attributes:
        westport: Folder of the real site.
        work: Folder for intermediate files.
        landscapes: Number of simulated landscapes, at least 3.
        size: Their side, pixels.
        seed: Seed of the first landscape. The others have the next numbers.
        tile: Side of the training tiles, pixels.
        run_file: Run file of the training.
        changes: Changes of its settings, as for `--set`.
    """

    westport: Path
    work: Path
    landscapes: int
    size: int
    seed: int
    tile: int
    run_file: Path
    changes: tuple[str, ...]


def run_forestgaps(*arguments: object) -> None:
    line = [sys.executable, "-m", "forestgaps_core", *map(str, arguments)]
    print("$ forestgaps", shlex.join(map(str, arguments)), flush=True)
    done = subprocess.run(line, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)  # it has printed the reason


def prepare_data(plan: Plan, sites: Sequence[SimulatedSite]) -> Path:
    landscapes, prepared = plan.work / "landscapes", plan.work / "prepared"
    for site in sites:
        folder = landscapes / site.name
        if not all((folder / layer).is_file() for layer in LAYER_FILES):
            size = ("--size", plan.size, "--resolution", RESOLUTION_M)
            run_forestgaps("simulate", folder, "--seed", site.seed, "--forest", site.forest, *size)
    if not prepared.exists():
        listed = plan.work / "sites.toml"
        listed.write_text(format_site_list(landscapes, sites, plan.westport), encoding="utf-8")
        run_forestgaps("prepare", listed, "--out", prepared, "--resolution", RESOLUTION_M, "--resample", "--tile", plan.tile)
    return prepared


def train_run(plan: Plan, prepared: Path) -> Path:
    run = plan.work / "run"
    if run.exists():
        run_forestgaps("train", "--resume", run)
        return run
    changes = [f"data.folder={json.dumps(str(prepared))}", *plan.changes]
    run_forestgaps("train", plan.run_file, "--out", run, *(word for change in changes for word in ("--set", change)))
    return run


def export_network(plan: Plan, run: Path, *, calibrate: bool) -> Path:
    network = plan.work / "network"
    if network.exists():
        remove_made(network, NETWORK_FILES)  # of an earlier call of this command, in its own folder
    run_forestgaps("publish", run, network, "--half", *(["--calibrate"] if calibrate else []))
    return network


def prepare_native_data(plan: Plan) -> Path:
    """Prepare the real site at its own pixel size, at which `predict` maps it."""
    prepared = plan.work / "prepared-native"
    if not prepared.exists():
        listed = plan.work / "native.toml"
        # Only its test area is used, but a prepared folder must have a validation part.
        listed.write_text(format_site_list(plan.work, [], plan.westport) + 'validation = "north 0.2"\n', encoding="utf-8")
        run_forestgaps("prepare", listed, "--out", prepared, "--tile", plan.tile)
    return prepared


def iterate_areas(plan: Plan, prepared: Path, sites: Sequence[SimulatedSite]) -> Iterator[tuple[str, Tile, float]]:
    """Yield name, data and pixel size of each held-out area."""
    from forestgaps_pretrained.scores import read_test_areas

    native = prepare_native_data(plan)
    real = list_test_areas([])
    for folder, names in ((prepared, list_test_areas(sites)), (native, real)):
        resolution_m = read_json(folder / "index.json")["resolution_m"]
        for name, tile in read_test_areas(folder, names, max(plan.size, MAX_SIDE_PX)):
            if folder == native or name not in real:
                yield name, tile, resolution_m


def write_card(plan: Plan, network: Path, prepared: Path, sites: Sequence[SimulatedSite], command: str) -> None:
    from forestgaps_core import load_predictor
    from forestgaps_pretrained.card import make_model_card
    from forestgaps_pretrained.scores import score_area, write_scores

    predictor = load_predictor(network)
    rows: list[dict[str, Any]] = []
    for name, tile, resolution_m in iterate_areas(plan, prepared, sites):
        print(f"scoring {name}", flush=True)
        rows += score_area(predictor, name, tile, resolution_m)
    write_scores(network / "scores.json", rows)
    about = read_json(network / "network.json")
    parts = Counter(str(site.part) for site in sites)
    text = make_model_card(about, rows, landscapes=parts, size=plan.size, command=command)
    (network / "README.md").write_text(text, encoding="utf-8")


def retrain(plan: Plan, out: Path, *, trained: Path | None, calibrate: bool, command: str) -> Path:
    """Train and write the model folder `out`, which must not exist.

    Args:
        trained: A run folder to use instead of training.
        command: The command for the model card.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists. Name a folder that does not exist with --out")
    if not (plan.westport / "dsm.tif").is_file():
        raise DataError(
            f"{plan.westport}: dsm.tif is missing. Give the folder with dsm.tif and dtm.tif of nz_westport with --westport"
        )
    if plan.landscapes < 3:
        raise DataError(
            f"{plan.landscapes} landscapes: at least 3 are required, for training, validation and test. Increase --landscapes"
        )
    start_work(plan)
    sites = list_simulated_sites(plan.landscapes, plan.seed)
    prepared = prepare_data(plan, sites)
    run = trained or train_run(plan, prepared)
    network = export_network(plan, run, calibrate=calibrate)
    write_card(plan, network, prepared, sites, command)
    with new_folder(out, purpose="retrain", contents=NETWORK_FILES) as draft:
        for name in NETWORK_FILES:
            shutil.copyfile(network / name, draft / name)
    return out


def start_work(plan: Plan) -> None:
    """Make the work folder, or check that an existing one has the same settings.

    Raises:
        DataError: It has other settings.
    """
    settings = {
        "landscapes": plan.landscapes,
        "size": plan.size,
        "seed": plan.seed,
        "tile": plan.tile,
        "westport": str(plan.westport),
    }
    settings |= {"run file": read_text(plan.run_file), "changes": list(plan.changes)}
    record = plan.work / "settings.json"
    if record.is_file():
        before = read_json(record)
        different = [key for key, value in settings.items() if before.get(key) != value]
        if different:
            raise DataError(f"{plan.work} was made with other settings ({', '.join(different)}). Name another folder with --work")
        return
    remove_temporary_files(plan.work)  # drafts of a process that was killed
    if plan.work.exists() and (not plan.work.is_dir() or any(plan.work.iterdir())):
        raise DataError(f"{plan.work} exists and was not made by this command. Name another folder with --work")
    plan.work.mkdir(parents=True, exist_ok=True)
    write_json(record, settings)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m forestgaps_pretrained.retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--westport", type=Path, required=True, metavar="FOLDER", help="dsm.tif and dtm.tif of nz_westport")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="model folder to write; must not exist")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="folder for intermediate files; default: OUT-work")
    parser.add_argument("--landscapes", type=int, default=18, metavar="N", help="number of simulated landscapes; default: 18")
    parser.add_argument("--size", type=int, default=512, metavar="PIXELS", help="side of a landscape; default: 512")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first landscape; default: 1000")
    parser.add_argument("--tile", type=int, default=256, metavar="PIXELS", help="side of training tiles; default: 256")
    parser.add_argument("--run-file", type=Path, metavar="RUN.toml", help="run file of the training; default: that of this package")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change a setting of the run file")
    parser.add_argument("--trained", type=Path, metavar="RUN", help="use this run folder instead of training")
    parser.add_argument("--no-calibration", action="store_true", help="do not calibrate the probabilities")
    return parser.parse_args(arguments)


def format_retrain_command(arguments: Sequence[str]) -> str:
    """Return the command line for the model card: with its options, without folders of this machine."""
    words = ["python", "-m", "forestgaps_pretrained.retrain", "--westport", "FOLDER", "--out", "FOLDER"]
    split = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--") else [word])]
    waiting = iter(split)
    for word in waiting:
        name = word.removeprefix("--")
        if word.startswith("--") and name in FOLDER_ARGUMENTS:
            next(waiting, None)
        elif word == "--run-file":
            words += [word, Path(next(waiting, "")).name]
        else:
            words.append(word)
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    given = parse_arguments(arguments)
    out: Path = given.out.absolute()
    plan = Plan(
        westport=given.westport.absolute(),
        work=(given.work or out.with_name(f"{out.name}-work")).absolute(),
        landscapes=given.landscapes,
        size=given.size,
        seed=given.seed,
        tile=given.tile,
        run_file=given.run_file or Path(str(files("forestgaps_pretrained"))) / "run.toml",
        changes=tuple(given.set),
    )
    try:
        retrain(plan, out, trained=given.trained, calibrate=not given.no_calibration, command=format_retrain_command(arguments))
    except ForestgapsError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    for path in sorted(out.iterdir()):
        print(f"wrote {path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
