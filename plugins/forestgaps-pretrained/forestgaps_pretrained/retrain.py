"""The one command that trains the network `pretrained` again:

    python -m forestgaps_pretrained.retrain --westport FOLDER --out FOLDER

FOLDER of --westport holds dsm.tif and dtm.tif of the site nz_westport. Every step is a command a user would type: simulate
landscapes, prepare them with the site's northern half, train by `run.toml` of this package, share the network. Then it is scored on
the held-out areas, and the card written. Seeds are fixed: the same machine gives the same network.

What is made on the way is kept in --work. After an interruption the same command resumes.
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
from forestgaps_core.files.atomic import sweep, write_json
from forestgaps_core.files.bounded_reading import read_json, read_text
from forestgaps_core.files.drafts import new_folder, remove_made
from forestgaps_pretrained.areas import SimulatedSite, simulated_sites, site_list, test_areas

RESOLUTION_M = 1.0
LARGEST_PX = 1024  # of a side of the real site at its own pixel size
LAYERS = ("dsm.tif", "dtm.tif", "chm.tif")
NETWORK = ("README.md", "model.safetensors", "network.json", "scores.json")
FOLDER_ARGUMENTS = ("westport", "out", "work", "trained")


class Plan(NamedTuple):
    """What is to be trained.

    Attributes:
        westport: Folder of the real site.
        work: Folder for what is made on the way.
        landscapes: Simulated landscapes, at least 3.
        size: Their side, pixels.
        seed: Of the first landscape; the others count on from it.
        tile: Side of the tiles to prepare for, pixels.
        run_file: To train by.
        changes: Of its settings, as for `--set`.
    """

    westport: Path
    work: Path
    landscapes: int
    size: int
    seed: int
    tile: int
    run_file: Path
    changes: tuple[str, ...]


def forestgaps(*arguments: object) -> None:
    line = [sys.executable, "-m", "forestgaps_core", *map(str, arguments)]
    print("$ forestgaps", shlex.join(map(str, arguments)), flush=True)
    done = subprocess.run(line, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)  # it has said why


def prepared_data(plan: Plan, sites: Sequence[SimulatedSite]) -> Path:
    landscapes, prepared = plan.work / "landscapes", plan.work / "prepared"
    for site in sites:
        folder = landscapes / site.name
        if not all((folder / layer).is_file() for layer in LAYERS):
            size = ("--size", plan.size, "--resolution", RESOLUTION_M)
            forestgaps("simulate", folder, "--seed", site.seed, "--forest", site.forest, *size)
    if not prepared.exists():
        listed = plan.work / "sites.toml"
        listed.write_text(site_list(landscapes, sites, plan.westport), encoding="utf-8")
        forestgaps("prepare", listed, "--out", prepared, "--resolution", RESOLUTION_M, "--resample", "--tile", plan.tile)
    return prepared


def trained_run(plan: Plan, prepared: Path) -> Path:
    run = plan.work / "run"
    if run.exists():
        forestgaps("train", "--resume", run)
        return run
    changes = [f"data.folder={json.dumps(str(prepared))}", *plan.changes]
    forestgaps("train", plan.run_file, "--out", run, *(word for change in changes for word in ("--set", change)))
    return run


def shared_network(plan: Plan, run: Path, *, calibrate: bool) -> Path:
    network = plan.work / "network"
    if network.exists():
        remove_made(network, NETWORK)  # of an earlier call of this command, in its own folder
    forestgaps("share", run, network, "--half", *(["--calibrate"] if calibrate else []))
    return network


def native_data(plan: Plan) -> Path:
    """The real site at its own pixel size, at which it is mapped and therefore scored."""
    prepared = plan.work / "prepared-native"
    if not prepared.exists():
        listed = plan.work / "native.toml"
        # Only its test area is used; a prepared folder has a part for validation too.
        listed.write_text(site_list(plan.work, [], plan.westport) + 'validation = "north 0.2"\n', encoding="utf-8")
        forestgaps("prepare", listed, "--out", prepared, "--tile", plan.tile)
    return prepared


def scored_areas(plan: Plan, prepared: Path, sites: Sequence[SimulatedSite]) -> Iterator[tuple[str, Tile, float]]:
    """Name, data and pixel size of each held-out area."""
    from forestgaps_pretrained.scores import held_back

    native = native_data(plan)
    real = test_areas([])
    for folder, names in ((prepared, test_areas(sites)), (native, real)):
        resolution_m = read_json(folder / "index.json")["resolution_m"]
        for name, tile in held_back(folder, names, max(plan.size, LARGEST_PX)):
            if folder == native or name not in real:
                yield name, tile, resolution_m


def write_card(plan: Plan, network: Path, prepared: Path, sites: Sequence[SimulatedSite], command: str) -> None:
    from forestgaps_core import load_predictor
    from forestgaps_pretrained.card import card
    from forestgaps_pretrained.scores import scored, written

    predictor = load_predictor(network)
    rows: list[dict[str, Any]] = []
    for name, tile, resolution_m in scored_areas(plan, prepared, sites):
        print(f"scoring {name}", flush=True)
        rows += scored(predictor, name, tile, resolution_m)
    written(network / "scores.json", rows)
    about = read_json(network / "network.json")
    parts = Counter(str(site.part) for site in sites)
    text = card(about, rows, landscapes=parts, size=plan.size, command=command)
    (network / "README.md").write_text(text, encoding="utf-8")


def retrain(plan: Plan, out: Path, *, trained: Path | None, calibrate: bool, command: str) -> Path:
    """Train and write the network folder `out`, which must not exist.

    Args:
        trained: A run folder to take instead of training one.
        command: What trains it again, for the card.
    """
    if out.exists():
        raise CheckpointError(f"{out} exists; nothing is overwritten, so name another folder")
    if not (plan.westport / "dsm.tif").is_file():
        raise DataError(
            f"{plan.westport}: there is no dsm.tif; --westport names the folder with dsm.tif and dtm.tif of nz_westport"
        )
    if plan.landscapes < 3:
        raise DataError(f"{plan.landscapes} landscapes: at least 3 are needed, to train on, to choose on and to test on")
    begin(plan)
    sites = simulated_sites(plan.landscapes, plan.seed)
    prepared = prepared_data(plan, sites)
    run = trained or trained_run(plan, prepared)
    network = shared_network(plan, run, calibrate=calibrate)
    write_card(plan, network, prepared, sites, command)
    with new_folder(out, purpose="retrain", contents=NETWORK) as draft:
        for name in NETWORK:
            shutil.copyfile(network / name, draft / name)
    return out


def begin(plan: Plan) -> None:
    """Make the work folder, or see that it was begun with the same settings.

    Raises:
        DataError: It was begun with others.
    """
    said = {"landscapes": plan.landscapes, "size": plan.size, "seed": plan.seed, "tile": plan.tile, "westport": str(plan.westport)}
    said |= {"run file": read_text(plan.run_file), "changes": list(plan.changes)}
    record = plan.work / "settings.json"
    if record.is_file():
        before = read_json(record)
        others = [key for key, value in said.items() if before.get(key) != value]
        if others:
            raise DataError(f"{plan.work} was begun with other settings ({', '.join(others)}); name another folder with --work")
        return
    sweep(plan.work)  # of a call that was killed here
    if plan.work.exists() and (not plan.work.is_dir() or any(plan.work.iterdir())):
        raise DataError(f"{plan.work} exists and was not made by this command; name another folder with --work")
    plan.work.mkdir(parents=True, exist_ok=True)
    write_json(record, said)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m forestgaps_pretrained.retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--westport", type=Path, required=True, metavar="FOLDER", help="dsm.tif and dtm.tif of nz_westport")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="network folder to write; must not exist")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="for what is made on the way; by default OUT-work")
    parser.add_argument("--landscapes", type=int, default=18, metavar="N", help="simulated landscapes; default: 18")
    parser.add_argument("--size", type=int, default=512, metavar="PIXELS", help="their side; default: 512")
    parser.add_argument("--seed", type=int, default=1000, help="of the first landscape; default: 1000")
    parser.add_argument("--tile", type=int, default=256, metavar="PIXELS", help="side of training tiles; default: 256")
    parser.add_argument("--run-file", type=Path, metavar="RUN.toml", help="to train by; by default this package's own")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change a setting of the run file")
    parser.add_argument("--trained", type=Path, metavar="RUN", help="take this run folder instead of training")
    parser.add_argument("--no-calibration", action="store_true", help="leave the logits as they are")
    return parser.parse_args(arguments)


def command_of(arguments: Sequence[str]) -> str:
    """The command line for the card: with its options, without the folders of this machine."""
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
    given = parsed(arguments)
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
        retrain(plan, out, trained=given.trained, calibrate=not given.no_calibration, command=command_of(arguments))
    except ForestgapsError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    for path in sorted(out.iterdir()):
        print(f"wrote {path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
