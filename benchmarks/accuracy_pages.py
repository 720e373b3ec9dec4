"""``docs/benchmarks.md`` and a page for each table and figure of the paper, as ``cinemae reproduce`` measured them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, ROOT
from cinemae.evaluation.protocols.reproduce import Reproduced

INDEX = ROOT / "docs" / "benchmarks.md"
PAGES = ROOT / "docs" / "benchmarks"  # a page a table or figure
PROTOCOLS = RESULTS / "protocols"
BENCH_BLOCKS = RESULTS / "bench.md"  # what `cinemae bench` printed on anybody's machine
HEAD = """# Benchmarks

Written by `python -m benchmarks.render` from `benchmarks/results/protocols/`; do not edit. Each page
is a table or figure of the paper, run by `cinemae reproduce NAME --data ROOT`; [the commands](../benchmarks/README.md)
say with which options.

**Nothing here was measured on the paper's data sets, nor with its backbone.** GenImage, AIGCDetectBenchmark, Chameleon
and the ViT-L weights were not at hand. A stand-in takes their place.
"""
LIST_HEAD = """## The pages

A cell holds the mean over trainings, the 95 % interval over images in brackets, after ± the deviation over
trainings, and n, the images behind it. Copied figures are the paper's; "measured here" names what was re-measured.
Photographs + generated images.
"""
ELSEWHERE = """Method against method, each family, source and delivery unseen: [four folds](benchmarks/four-folds.md).
The readings of Eqs. 4 and 5, by the preset `paper` and on three encoders: [readings.md](readings.md). What the
bundled model itself reaches: [starter.md](starter.md)."""
PAGE_HEAD = """
Written by `python -m benchmarks.render`; do not edit. How to read the cells, and what the figures are not:
[Benchmarks](../benchmarks.md).
"""


def render() -> dict[Path, str]:
    """Return an index, and a page for every protocol with a committed result."""
    names = sorted((path.stem for path in PROTOCOLS.glob("*.json")), key=_place)
    pages: dict[Path, str] = {}
    rows = ["| page | of the paper | frozen half | train | test | rows measured |", "|---|---|---|---:|---:|---:|"]
    for name in names:
        values = json.loads((PROTOCOLS / f"{name}.json").read_text(encoding="utf-8"))
        pages[PAGES / f"{name}.md"] = _page(name, values)
        cells = values["tables"][0]["cells"]
        measured = {cell["row"] for cell in cells if cell["measured"]}
        count = f"{len(measured)} of {len({cell['row'] for cell in cells})}"
        columns = [f"[{values['place']}]({PAGES.name}/{name}.md)", values["title"], values["frozen_half"]]
        columns += [_images(values["measured_on"][part]) for part in ("train", "test")]
        rows.append(f"| {' | '.join([*columns, count])} |")
    index = [HEAD, (RESULTS.parent / "stand_in.md").read_text(encoding="utf-8"), ELSEWHERE, LIST_HEAD]
    index += ["\n".join(rows), BENCH_BLOCKS.read_text(encoding="utf-8")]
    return {INDEX: "\n\n".join(part.strip() for part in index) + "\n", **pages}


def _images(part: dict[str, Any]) -> str:
    return f"{part['photographs']} + {sum(part['fakes'].values())}"


def _page(name: str, values: dict[str, Any]) -> str:
    """Return the page of one protocol: its tables, plots and versions."""
    tables = Reproduced.from_dict(values).to_markdown().strip()
    heading, _, rest = re.sub("^#(#+ )", r"\1", tables, flags=re.MULTILINE).partition("\n\n")
    plots = [
        f"![{path.stem}](../../{path.relative_to(ROOT).as_posix()})" for path in sorted(PROTOCOLS.glob(f"{name}-*.png"))
    ]
    versions = ", ".join(f"{package} {version}" for package, version in values["versions"].items())
    return "\n\n".join([heading, PAGE_HEAD.strip(), rest, *plots, f"Versions: {versions}."]) + "\n"


def _place(name: str) -> tuple[int, int, str]:
    """Sort tables before figures before ablations of ours, each by number."""
    kind = next(index for index, word in enumerate(("table", "figure", "")) if name.startswith(word))
    number = re.search(r"\d+", name)
    return kind, int(number.group()) if number else 0, name
