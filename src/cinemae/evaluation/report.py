"""A report on disk: ``results.json``, ``report.md`` with its plots, and one self-contained ``report.html``."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader
from matplotlib import rc_context

from cinemae.evaluation.results import EvaluationResults
from cinemae.evaluation.section import Section
from cinemae.evaluation.sections import build_sections
from cinemae.statistics.plot_style import to_png

RESULTS_FILE = "results.json"
MARKDOWN_FILE = "report.md"
HTML_FILE = "report.html"
PLOTS_DIR = "plots"


def write_report(
    results: EvaluationResults, out: Path, *, title: str = "Evaluation", more: Sequence[Section] = ()
) -> list[Path]:
    """Write the three forms of a report.

    Args:
        results: Every figure.
        out: Folder to write to; made if need be.
        title: Of the report.
        more: Sections without plots to add at the end of the HTML page, such as example maps.

    Returns:
        The files a person would open: HTML, Markdown, JSON.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULTS_FILE).write_text(json.dumps(results.to_dict(), indent=1) + "\n", encoding="utf-8")
    with rc_context({"text.parse_math": False}):  # a generator's name may hold dollar signs
        sections = build_sections(results)
        plots = [None if section.figure is None else to_png(section.figure) for section in sections]
    _write_plots(out / PLOTS_DIR, dict(zip(_plot_names(sections), plots, strict=True)))
    _write(out / MARKDOWN_FILE, f"# {title}\n\n{to_markdown(sections)}")
    parts, pictures = [*sections, *more], [*plots, *(None for _ in more)]
    _write(out / HTML_FILE, render_page("report.html.j2", parts, pictures, title=title))
    return [out / HTML_FILE, out / MARKDOWN_FILE, out / RESULTS_FILE]


def to_markdown(sections: Sequence[Section], *, plots_at: str = PLOTS_DIR, deeper: int = 0) -> str:
    """Return sections as Markdown.

    Args:
        sections: What `cinemae.evaluation.sections.build_sections` returns.
        plots_at: Where the plots lie, as `write_report` names them; relative to the page.
        deeper: How many levels the headings are moved down.
    """
    parts = []
    for section, name in zip(sections, _plot_names(sections), strict=True):
        plot = None if section.figure is None else f"{plots_at}/{name}"
        parts.append({**_as_mapping(section, plot), "level": section.level + deeper})
    return _environment(html=False).get_template("report.md.j2").render(sections=parts).rstrip() + "\n"


def _plot_names(sections: Sequence[Section]) -> list[str]:
    """Return what the plot of each section is called, whether it has one or not."""
    slugs = (re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-") for section in sections)
    return [f"{number:02d}-{slug}.png" for number, slug in enumerate(slugs)]


def _write_plots(folder: Path, plots: dict[str, bytes | None]) -> None:
    """Write plots, and take away those that an earlier report left there."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("[0-9][0-9]-*.png"):
        if plots.get(path.name) is None:
            path.unlink()
    for name, plot in plots.items():
        if plot is not None:
            (folder / name).write_bytes(plot)


def render_page(template: str, sections: Sequence[Section], plots: Sequence[bytes | None], **values: object) -> str:
    """Return one self-contained HTML page.

    Args:
        template: The name of one in ``evaluation/templates``.
        sections: Parts of the page.
        plots: PNG files, one a part; None for parts without.
        values: What else the template takes, such as its title.
    """
    parts = [
        _as_mapping(section, None if plot is None else _encode(plot))
        for section, plot in zip(sections, plots, strict=True)
    ]
    return _environment(html=True).get_template(template).render(sections=parts, **values)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")  # a folder's name may be no valid UTF-8


def _as_mapping(section: Section, plot: str | None) -> dict[str, object]:
    """Return what a template is given of a section."""
    maps = [{"caption": caption, "png": _encode(png)} for caption, png in section.maps]
    return {**vars(section), "plot": plot, "maps": maps}


def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("cinemae.evaluation"),
        autoescape=html,  # noqa: S701 - Markdown is plain text; the page itself is always escaped
        keep_trailing_newline=True,
        trim_blocks=html,
    )
    environment.filters["cell"] = lambda value: str(value).replace("|", "\\|").replace("\n", " ")
    return environment


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
