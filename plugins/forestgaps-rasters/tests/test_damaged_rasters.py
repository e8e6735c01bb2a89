"""Whatever is wrong with a raster, it is read or refused in a sentence that names it: no traceback, crash, hang or explosion."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from attrs import define, field
from damage import damaged_tiffs, damaged_vrts, surface
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading_apart import GAPS, READERS

CASES = int(os.environ.get("FORESTGAPS_FUZZ_CASES", "120"))
PATIENCE = 900  # seconds, on a machine with other work; the process itself ends after `reading_apart.SECONDS` of its own
MEMORY_MB = 1500  # that the process may reach, of which the libraries take some 350
CORPUS = Path(__file__).parent / "corpus"
WAYS = [name for name in READERS if name not in GAPS or find_spec("forestgaps_gaps")]


@define
class Apart:
    """The process that reads, started again when it dies."""

    seen: Counter[str] = field(factory=Counter)
    most_mb: int = 0
    process: subprocess.Popen[str] | None = None

    def read(self, options: str, folder: Path) -> tuple[str, str]:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("reading_apart.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                cwd=folder,
            )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"how": options, "folder": str(folder)}) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.close()
            return "broken", "it waits forever" if not ready else "the process died, or took longer than it may"
        answer = json.loads(line)
        self.most_mb = max(self.most_mb, answer["rss_mb"])
        self.seen[f"{options}: {answer['outcome']}"] += 1
        return answer["outcome"], answer["text"]

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    reader = Apart()
    yield reader
    reader.close()
    if CASES > 1000:
        print(f"\nmost memory {reader.most_mb} MB; " + ", ".join(f"{what} {times}" for what, times in sorted(reader.seen.items())))


@pytest.fixture
def folder(raster, tmp_path) -> Path:
    raster("good.tif", surface(seed=1) - 4)
    return tmp_path


def check(apart: Apart, folder: Path, options: str, content: bytes, name: str) -> None:
    for old in folder.glob("damaged.*"):
        old.unlink()
    (folder / name).write_bytes(content)
    outcome, text = apart.read(options, folder)
    assert outcome in ("worked", "refused"), f"{options}: {text}"
    if outcome == "refused":
        names_the_file = any(word in text for word in ("damaged.", "site 'site'", "list.txt", "of the DSM (", str(folder / "out")))
        assert names_the_file, f"{options}: the sentence does not name the file: {text}"
        assert len(text) < 2000, f"{options}: a sentence of {len(text)} letters"
        assert "Traceback" not in text
    assert not (folder / "executed").exists(), "code in a file was executed"
    assert apart.most_mb < MEMORY_MB, f"{options}: reading took {apart.most_mb} MB"


FUZZED = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@FUZZED
@given(content=damaged_tiffs(), options=st.sampled_from(WAYS))
def test_damaged_geotiffs(apart, folder, content, options) -> None:
    check(apart, folder, options, content, "damaged.tif")


@FUZZED
@given(content=damaged_vrts(), options=st.sampled_from(WAYS))
def test_damaged_virtual_rasters(apart, folder, content, options) -> None:
    check(apart, folder, options, content, "damaged.vrt")


@pytest.mark.parametrize("case", sorted(CORPUS.glob("*")), ids=lambda path: path.name)
def test_what_broke_something_once(apart, folder, case) -> None:
    for options in WAYS:
        check(apart, folder, options, case.read_bytes(), f"damaged{case.suffix}")
