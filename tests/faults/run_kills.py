"""The big run: hundreds of kills at random moments, and one before every file call; prints its figures as it goes.

python -m tests.faults.run_kills [--files] [--trainings 200] [--prepares 50] [--predictions 50] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

from .kill import Strike, Zygote
from .trials import PREPARED, Trial, Workshop, at_random, once


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trainings", type=int, default=200)
    options.add_argument("--prepares", type=int, default=50)
    options.add_argument("--predictions", type=int, default=50)
    options.add_argument("--files", action="store_true", help="also one kill before each file call of each command")
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, Zygote() as zygote:
        workshop = Workshop(zygote, Path(folder))
        for make, wanted in (
            (workshop.training, asked.trainings // 2),
            (lambda: workshop.training(*PREPARED), asked.trainings - asked.trainings // 2),
            (workshop.preparing, asked.prepares),
            (workshop.predicting, asked.predictions),
        ):
            at_random_moments(workshop, make, wanted, asked.seed)
        if asked.files:
            for make in (workshop.training, workshop.preparing, workshop.predicting):
                before_every_file_call(workshop, make)


def at_random_moments(workshop: Workshop, make: Callable[[], Trial], wanted: int, seed: int) -> None:
    """Trials until so many kills have met."""
    before = sum(workshop.figures.kills.values())
    for number in count(seed):
        if sum(workshop.figures.kills.values()) - before >= wanted:
            return
        trial = make()
        told(workshop, trial, lambda trial=trial, number=number: trial.until_it_ends(at_random(trial, number)), f"seed {number}")


def before_every_file_call(workshop: Workshop, make: Callable[[], Trial]) -> None:
    """One trial for each file call of the undisturbed command: killed before it, then left in peace."""
    for number in count(1):
        trial, kills = make(), sum(workshop.figures.kills.values())
        told(workshop, trial, lambda t=trial, n=number: t.until_it_ends(once(Strike(file=n))), f"file call {number}")
        if sum(workshop.figures.kills.values()) == kills:
            print(f"{trial.command}: {number - 1} file calls", flush=True)
            return


def told(workshop: Workshop, trial: Trial, run: Callable[[], None], what: str) -> None:
    try:
        run()
    except AssertionError:
        print(f"FAILED: {trial.command}, {what}, in {trial.place}\n{traceback.format_exc()[-3000:]}", flush=True)
        workshop.figures.failed += 1
    print(json.dumps(workshop.figures.table()), flush=True)


if __name__ == "__main__":
    main()
