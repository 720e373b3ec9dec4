"""A report on disk: ``results.json``, ``report.md`` with its plots, and one self-contained ``report.html``."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from matplotlib import rc_context
from matplotlib.figure import Figure

from cinemae.evaluation.sections import Section, build_sections

RESULTS_FILE = "results.json"
MARKDOWN_FILE = "report.md"
HTML_FILE = "report.html"
PLOTS_DIR = "plots"


def write_report(
    results: dict[str, Any], out: Path, *, title: str = "Evaluation", more: Sequence[Section] = ()
) -> list[Path]:
    """Write the three forms of a report.

    Args:
        results: What `cinemae.evaluation.tables.tabulate` returns.
        out: Folder to write to; made if need be.
        title: Of the report.
        more: Sections without plots to add at the end of the HTML page, such as example maps.

    Returns:
        The files a person would open: HTML, Markdown, JSON.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULTS_FILE).write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with rc_context({"text.parse_math": False}):  # a generator's name may hold dollar signs
        sections = build_sections(results)
        plots = [None if section.figure is None else _to_png(section.figure) for section in sections]
    _write(out / MARKDOWN_FILE, _markdown(sections, plots, title, out))
    _write(out / HTML_FILE, _html([*sections, *more], [*plots, *(None for _ in more)], title))
    return [out / HTML_FILE, out / MARKDOWN_FILE, out / RESULTS_FILE]


def _markdown(sections: Sequence[Section], plots: Sequence[bytes | None], title: str, out: Path) -> str:
    """Return Markdown; plots are written to a folder below `out` and linked."""
    (out / PLOTS_DIR).mkdir(exist_ok=True)
    parts = []
    for number, (section, plot) in enumerate(zip(sections, plots, strict=True)):
        name = None
        if plot is not None:
            name = f"{PLOTS_DIR}/{number:02d}-{_slug(section.title)}.png"
            (out / name).write_bytes(plot)
        parts.append(_as_mapping(section, name))
    text = _environment(html=False).get_template("report.md.j2").render(title=title, sections=parts)
    return text.rstrip() + "\n"


def _html(sections: Sequence[Section], plots: Sequence[bytes | None], title: str) -> str:
    """Return one HTML page with every plot and map inside it; it asks for nothing from the network."""
    parts = [
        _as_mapping(section, None if plot is None else _encode(plot))
        for section, plot in zip(sections, plots, strict=True)
    ]
    return _environment(html=True).get_template("report.html.j2").render(title=title, sections=parts)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a folder's name may be no valid UTF-8


def _as_mapping(section: Section, plot: str | None) -> dict[str, Any]:
    maps = [{"caption": caption, "png": _encode(png)} for caption, png in section.maps]
    return {
        "title": section.title,
        "level": section.level,
        "text": section.text,
        "warning": section.warning,
        "table": section.table,
        "plot": plot,
        "maps": maps,
    }


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("cinemae.evaluation"),
        autoescape=html,  # noqa: S701 - Markdown is plain text; the page itself is always escaped
        keep_trailing_newline=True,
        trim_blocks=html,
    )
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    return environment


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
