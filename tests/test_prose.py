"""The language of documentation, help, messages, docstrings and comments: phrases that have a plain term are not used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Each with what to write instead.
BANNED = {
    r"\btold\b": "reported, printed, sent, called with",
    r"\bgoes on\b": "continues, resumes",
    r"\bbeg[iu]ns? anew\b": "restarts",
    r"\b(to hand on|handed on|hands on)\b": "model folder, publish",
    r"\bvouch": "trusted, untrusted",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bcomes? along\b": "is included",
    r"\bheld back\b": "held-out",
    r"\bby heart\b": "from memory",
    r"\btrivial\b": "baseline",
    r"\bgap shares?\b": "gap fraction",
    r"\bguard distance\b": "buffer distance",
    r"\baveraged weights\b": "EMA weights",
    r"(?<!learning-)\brate finder\b": "learning-rate finder",
    r"\bseal(s|ed|ing)?\b(?!\\n)": "checksum",
    r"\binvent(s|ed|ing)?\b": "false positive (commission)",
    r"\bjudg(e|ed|es|ing)\b": "evaluate, check, compare",
    r"\bone-sided\b": "extreme prevalence",
    r"\btakes? over\b": "replaces, continues",
    r"\bbrings? along\b": "contains, includes",
    r"\bas it stands\b": "as it is written",
    r"\bmeans? what (it|they) says?\b": "calibrated",
    r"\bborne\b": "accepted, allowed",
    r"\bhow far to trust\b": "accuracy and limits",
    r"(?<!\|)\b(deci|centi|milli|kilo)?metres\b(?!\")": "meters (American spelling)",
    r"\b(neighbour|colour|labelled\b|centred|licence|behaviour|travelling)(?!\")": "American spelling",
    r"(?<!there )\bis no (raster|class|plugin|checkpoint|hook|table|file|folder|grid)\b": "is not a ...",
    r"\bthat (are|is) none\b": "that are not ..., non-finite",
    r"\bnumbers? that (are|is) no\b": "non-finite",
}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "noxfile.py")),
    *(path for path in (ROOT / "docs").rglob("*.md") if "decisions" not in path.parts),  # decisions record their time
    *(ROOT / "plugins").glob("*/README.md"),
    *(ROOT / "plugins").glob("*/forestgaps_*/**/README.md"),  # model cards
    *(ROOT / "benchmarks").glob("*.md"),
    *(ROOT / "forestgaps_core").rglob("*.py"),
    *(ROOT / "plugins").glob("*/forestgaps_*/**/*.py"),
]


GENERATED = ("catalogue", "modules", "commands.md")  # of docs/reference: their sentences are those of the code
PROSE = [path for path in PAGES if path.suffix == ".md" and not {*GENERATED} & {*path.parts}]
MOST_WORDS = 28
CODE = re.compile(r"^(`{3,}|~{3,}).*?^\1|<!--.*?-->", re.M | re.S)
NO_PROSE = re.compile(r"\s*(\||#|:::|!\[)")  # rows of tables, titles, API documentation, pictures
END_OF_SENTENCE = re.compile(r"(?<=[.!?:;])[\"'*_)]*\s+")


def sentences(text):
    """The sentences of a page, without code, tables and titles; a colon or semicolon ends one too."""
    lines = ["" if NO_PROSE.match(line) else line for line in CODE.sub("", text).splitlines()]
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines)):
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
        yield from END_OF_SENTENCE.split(re.sub(r"`[^`]*`", "CODE", plain))


def test_there_are_pages_and_sources():
    assert {"index.md", "README.md", "trainer.py", "commands.py"} <= {path.name for path in PAGES}


@pytest.mark.parametrize("phrase", BANNED)
def test_a_phrase_with_a_plain_term_is_not_used(phrase):
    pattern = re.compile(phrase, re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in PAGES
        if path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"write: {BANNED[phrase]}\n" + "\n".join(found)


@pytest.mark.parametrize("page", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sentences_are_short(page):
    long = [sentence for sentence in sentences(page.read_text(encoding="utf-8")) if len(sentence.split()) > MOST_WORDS]
    assert not long, f"more than {MOST_WORDS} words: make two sentences"


def test_only_long_sentences_of_prose_are_found():
    long = "word " * (MOST_WORDS + 1)
    counts = [
        len(sentence.split()) for sentence in sentences(f"Short one. {long.strip()}.\n\n- a [link with words](page.md)\n- item")
    ]
    assert max(counts) == MOST_WORDS + 1
    assert all(len(sentence.split()) < 9 for sentence in sentences(f"```text\n{long}\n```\n\n| {long} |\n\n# {long}\n\n`{long}`"))
