"""The text of a report: one HTML page that asks for nothing from anywhere, made of one article an image.

All that comes from a file, its name first of all, is escaped; the page forbids itself scripts and every address.
"""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from cinemae.app.report.drawings import PICTURE_SIDE, Drawings
from cinemae.config import DecisionConfig
from cinemae.detect.reasons import ReasonGroup, Reasons
from cinemae.detect.verdict import Verdict
from cinemae.detect.words import WORDS, decimals_for, limits_in_words, percent
from cinemae.version import __version__

_START, _, _END = (Path(__file__).resolve().parent / "report.html").read_text(encoding="utf-8").partition("$articles")
_GROUPS: tuple[tuple[ReasonGroup, str], ...] = (
    ("why", "Why"),
    ("doubt", "What makes it less sure"),
    ("file", "What the file says of its origin"),
)
_SIGNATURE = {True: "signature holds", False: "signature does not hold", None: "not verified"}
_UNREAD = "not examined"
LIMITS = (
    "A score is a signal, not proof, and errs in both directions: accuse nobody by it alone. Find the source, ask for "
    "the original, look at what surrounds the picture. The score is of this very file: a copy that was saved anew, cut "
    "or sent by a messenger may get another. What the file says of its origin never enters the score; anyone can write "
    "most of it, and most sites remove it."
)
MAP_LIMITS = (
    "How hard each part is to predict from what surrounds it, from dark (easy) to yellow (hard). Photographs and "
    "generated images both have hard parts: the map does not show what is fake."
)


@dataclass(frozen=True)
class ReportContext:
    """What holds for all images of a report.

    Attributes:
        decision: The limits of the verdicts.
        examined_at: When; shown in UTC.
    """

    decision: DecisionConfig
    examined_at: datetime

    @classmethod
    def now(cls, decision: DecisionConfig) -> ReportContext:
        """Return that of a report made now."""
        return cls(decision, datetime.now(UTC))


def render(examined: Sequence[tuple[Verdict, Drawings | None]], context: ReportContext) -> str:
    """Return the report on some images.

    Args:
        examined: Each verdict with its pictures; the path is what the image is called.
        context: What holds for all.
    """
    numbered = list(enumerate(examined, start=1))
    sheet = [sheet_entry(number, verdict, drawings) for number, (verdict, drawings) in numbered]
    start, end = frame(sheet, [verdict for verdict, _ in examined])
    articles = (article(number, verdict, drawings, context) for number, (verdict, drawings) in numbered)
    return "".join((start, *articles, end))


def frame(sheet: Sequence[str], verdicts: Iterable[Verdict]) -> tuple[str, str]:
    """Return what comes before the articles, the contact sheet among it, and what comes after them.

    Args:
        sheet: What `sheet_entry` returned for each image.
        verdicts: Of the images; their pixels are not needed.
    """
    counts: Counter[str] = Counter()
    conflicts = []
    for verdict in verdicts:
        counts[verdict.verdict or "error"] += 1
        if verdict.conflict:
            conflicts.append(f'<li><bdi class="name">{_name(verdict)}</bdi>: {html.escape(verdict.conflict)}</li>')
    words = [*WORDS.items(), ("error", _UNREAD)]
    said = (f'<span>{word}: <b data-count="{kind}">{counts[kind]}</b></span>' for kind, word in words)
    start = Template(_START).substitute(
        counts="\n".join(said),
        total=len(sheet),
        conflicts="\n".join(conflicts),
        hidden="" if len(sheet) > 1 else " hidden",
        sheet="\n".join(sheet),
    )
    return start, _END


def sheet_entry(number: int, verdict: Verdict, drawings: Drawings | None) -> str:
    """Return one picture of the contact sheet: small, with its verdict, leading to its article."""
    kind, word = _kind(verdict), _word(verdict)
    share = "" if verdict.prob_fake is None else f' <span class="share">{_prob(verdict)}</span>'
    shown = "" if drawings is None else f'<img src="{drawings.thumbnail}" alt="">'
    return (
        f'<li class="{kind}"><a href="#image-{number}"><span class="thumb">{shown}</span>'
        f'<span class="badge">{word}</span>{share}<bdi class="name">{_name(verdict)}</bdi></a></li>'
    )


def article(number: int, verdict: Verdict, drawings: Drawings | None, context: ReportContext) -> str:
    """Return all that is said of one image; a conflict between file and score is its first line."""
    conflict = f'<p class="conflict" role="note">{html.escape(verdict.conflict)}</p>' if verdict.conflict else ""
    head = f'{conflict}<h1><bdi class="name">{_name(verdict)}</bdi></h1>'
    opening = f'<article id="image-{number}" class="{_kind(verdict)}">\n{head}\n'
    if verdict.status == "error" or drawings is None:
        said = verdict.error_message or "it has no score"
        message = html.escape(said[0].upper() + said[1:])
        return f'{opening}<div class="verdict"><p class="word">{_word(verdict)}</p><p>{message}</p></div>\n</article>\n'
    return "\n".join(
        (
            f"{opening}{_verdict(verdict, context.decision)}",
            _pictures(verdict, drawings),
            *_parts(verdict),
            _facts(verdict, drawings, context),
            f'<p class="note">{LIMITS}</p>\n</article>\n',
        )
    )


def _kind(verdict: Verdict) -> str:
    return verdict.verdict or "error"


def _word(verdict: Verdict) -> str:
    word = _UNREAD if verdict.verdict is None else WORDS[verdict.verdict]
    return word[0].upper() + word[1:]


def _name(verdict: Verdict) -> str:
    name = os.fsencode(verdict.path or "image without a name").decode("utf-8", "backslashreplace")
    return html.escape("".join(char for char in name if char.isprintable()))


def _prob(verdict: Verdict, *beside: float) -> str:
    prob = verdict.prob_fake or 0.0
    return percent(prob, decimals=decimals_for((prob, *beside)))


def _verdict(verdict: Verdict, decision: DecisionConfig) -> str:
    low, high = decision.real_below, decision.threshold
    decimals = decimals_for((verdict.prob_fake or 0.0, low, high))
    below, above = (percent(limit, decimals=decimals) for limit in (low, high))
    limits = f"Photograph below {below}, AI-generated from {above} on; between them the model cannot tell."
    prob = _prob(verdict, low, high)
    return (
        f'<div class="verdict"><p class="word">{_word(verdict)}</p>'
        f"<p><strong>{prob}</strong> probability of being AI-generated</p>"
        f'{_scale(verdict.prob_fake or 0.0, low, high)}<p class="note">{limits}</p></div>'
    )


def _scale(prob: float, low: float, high: float) -> str:
    """Draw the range of probabilities with the three verdicts: as SVG, which printers do not leave out."""
    left, middle, right = (round(1000 * share, 1) for share in (low, high, prob))
    zones = ((0.0, left, "real"), (left, middle, "uncertain"), (middle, 1000.0, "ai"))
    bars = "".join(
        f'<rect class="{kind}" x="{start}" y="16" width="{round(end - start, 1)}" height="22"/>'
        for start, end, kind in zones
    )
    return (
        '<svg class="scale" viewBox="-12 0 1024 54" role="img" aria-label="Scale from photograph to AI-generated">'
        f'{bars}<path class="marker" d="M{right - 11} 0h22v10l-7 8v36h-8v-36l-7-8z"/></svg>'
    )


def _pictures(verdict: Verdict, drawings: Drawings) -> str:
    width, height = verdict.width or 0, verdict.height or 0
    smaller = ", shown smaller" if max(width, height) > PICTURE_SIDE else ""
    caption = f"<figcaption>The picture, {width:,} × {height:,} pixels{smaller}.</figcaption>"
    figures = [f'<figure><img src="{drawings.picture}" alt="The picture">{caption}</figure>']
    if drawings.map is not None:
        alt = "Map of how hard each part is to predict from what surrounds it"
        caption = f'<span class="ramp"></span>{MAP_LIMITS}'
        figures.append(f'<figure><img src="{drawings.map}" alt="{alt}"><figcaption>{caption}</figcaption></figure>')
    return f'<div class="pictures">{"".join(figures)}</div>'


def _parts(verdict: Verdict) -> Iterable[str]:
    reasons = Reasons.of(verdict)
    for group, title in _GROUPS:
        sentences = [html.escape(sentence) for sentence in reasons.under(group)]
        if group == "file":
            sentences = [_signal(signal.sentence, signal.verified) for signal in verdict.provenance]
            sentences = sentences or ["Nothing. Most sites remove such notes, so this speaks neither way."]
        if sentences:
            items = "".join(f"<li>{sentence}</li>" for sentence in sentences)
            yield f"<section><h2>{title}</h2><ul>{items}</ul></section>"


def _signal(sentence: str, verified: bool | None) -> str:
    return f'{html.escape(sentence[0].upper() + sentence[1:])}. <span class="tag">{_SIGNATURE[verified]}</span>'


def _facts(verdict: Verdict, drawings: Drawings, context: ReportContext) -> str:
    size = "" if drawings.num_bytes is None else f", {drawings.num_bytes:,} bytes"
    facts = {
        "File": f"{verdict.format}, {verdict.width} × {verdict.height} pixels{size}",
        "SHA-256": verdict.content_hash or "",
        "Examined": f"{context.examined_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        "Model": f"{verdict.model}, cinemae {__version__}",
        "Limits": limits_in_words(context.decision),
    }
    pairs = "".join(f"<div><dt>{term}</dt><dd>{html.escape(value)}</dd></div>" for term, value in facts.items())
    return f"<dl>{pairs}</dl>"
