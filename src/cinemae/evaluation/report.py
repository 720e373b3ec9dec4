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
        more: Sections to add at the end, such as example maps.

    Returns:
        The files a person would open: HTML, Markdown, JSON.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections = [*build_sections(results), *more]
    (out / RESULTS_FILE).write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / MARKDOWN_FILE).write_text(render_markdown(sections, title, out), encoding="utf-8")
    (out / HTML_FILE).write_text(render_html(sections, title), encoding="utf-8")
    return [out / HTML_FILE, out / MARKDOWN_FILE, out / RESULTS_FILE]


def render_markdown(sections: Sequence[Section], title: str, out: Path) -> str:
    """Return Markdown; plots are written to a folder below `out` and linked."""
    parts = []
    for section in sections:
        plot = None
        if section.figure is not None:
            (out / PLOTS_DIR).mkdir(parents=True, exist_ok=True)
            plot = f"{PLOTS_DIR}/{_slug(section.title)}.png"
            (out / plot).write_bytes(_to_png(section.figure))
        parts.append(_as_mapping(section, plot))
    parts = [part for part in parts if part["text"] or part["table"] or part["plot"] or part["warning"]]
    text = _environment(html=False).get_template("report.md.j2").render(title=title, sections=parts)
    return text.rstrip() + "\n"


def render_html(sections: Sequence[Section], title: str) -> str:
    """Return one HTML page with every plot and map inside it; it asks for nothing from the network."""
    parts = [
        _as_mapping(section, None if section.figure is None else _encode(_to_png(section.figure)))
        for section in sections
    ]
    return _environment(html=True).get_template("report.html.j2").render(title=title, sections=parts)


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
        loader=PackageLoader("cinemae.evaluation"), autoescape=html, keep_trailing_newline=True, trim_blocks=html
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
