"""``cinemae detect --report``: one HTML page that says all of one or many images."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.in_process import invoke

from cinemae.app.report.document import LIMITS
from cinemae.app.report.drawings import PICTURE_SIDE
from cinemae.app.report.writer import open_report
from cinemae.config import DecisionConfig
from cinemae.detect.detector import Detector
from cinemae.detect.words import WORDS
from cinemae.version import __version__

SEED_OF_A_PHOTOGRAPH = 2


class _Parsed(HTMLParser):
    """All tags, and the text of the page in the order in which it is read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text.partition("<main>")[2])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if data.strip():
            self.text.append(" ".join(data.split()))


@pytest.fixture
def two(tmp_path: Path, picture) -> Path:
    """A folder with two pictures, the first of them larger than what a report shows."""
    folder = tmp_path / "in"
    folder.mkdir()
    picture(1, 1200, 500).save(folder / "a.png")
    picture(2).save(folder / "b.jpg")
    return folder


def page_of(*arguments: str | Path, out: Path, code: int = 0) -> str:
    result = invoke("detect", *arguments, "--report", out)
    assert result.exit_code == code, result.output
    return out.read_text(encoding="utf-8")


def test_one_image_is_told_whole(tiny_model: Path, two: Path, tmp_path: Path):
    path = two / "a.png"
    page = page_of(path, "--model", tiny_model, out=tmp_path / "out.html")
    verdict = Detector.from_pretrained(tiny_model).detect(path)
    found = _Parsed(page)
    text = " ".join(found.text)
    assert WORDS[verdict.verdict] in text.lower().replace("ai-generated", "AI-generated")
    assert "Photograph below 40 %, AI-generated from 60 % on; between them the model cannot tell." in text
    for group in ("why", "doubt"):
        for sentence in verdict.explanation.under(group):
            assert sentence in text
    data = path.read_bytes()
    for fact in (
        hashlib.sha256(data).hexdigest(),
        f"PNG, 1200 × 500 pixels, {len(data):,} bytes",
        f"{verdict.model}, cinemae {__version__}",
        "drawn from a hat, for tests",
        "The picture, 1,200 × 500 pixels, shown smaller.",
        LIMITS,
    ):
        assert fact in text
    assert re.search(r"Examined 20\d\d-\d\d-\d\d \d\d:\d\d UTC", text)
    marker = next(attributes["d"] for tag, attributes in found.tags if attributes.get("class") == "marker")
    assert float(re.match(r"M([\d.]+) ", marker)[1]) + 11 == pytest.approx(1000 * verdict.prob_fake, abs=0.1)


def test_it_shows_the_picture_and_its_map_and_asks_for_nothing(tiny_model: Path, two: Path, tmp_path: Path):
    page = page_of(two / "a.png", "--model", tiny_model, out=tmp_path / "out.html")
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|url\(|@import|<script|<link", page)
    images = [attributes["src"] or "" for tag, attributes in _Parsed(page).tags if tag == "img"]
    assert len(images) == 3  # on the sheet, which is hidden, and in the article with its map
    sizes = []
    for image in images:
        assert image.startswith("data:image/jpeg;base64,")
        sizes.append(Image.open(io.BytesIO(base64.b64decode(image.partition(",")[2]))).size)
    assert sizes[1:] == [(PICTURE_SIDE, 334), (PICTURE_SIDE, 334)]
    assert '<section class="sheet" hidden>' in page


def test_a_folder_has_a_contact_sheet_on_top(tiny_model: Path, two: Path, tmp_path: Path):
    (two / "broken.png").write_bytes((two / "a.png").read_bytes()[:60])
    page = page_of(two, "--model", tiny_model, out=tmp_path / "out.html", code=1)
    found = _Parsed(page)
    sheet, *articles = page.partition("<main>")[2].split("<article")
    assert '<section class="sheet">' in sheet
    assert sheet.count("<li class=") == len(articles) == 3
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links == [f"#{attributes['id']}" for tag, attributes in found.tags if tag == "article"]
    counts = {attributes["data-count"]: int(value) for tag, attributes, value in _counted(page)}
    assert counts["all"] == 3 == sum(counts.values()) - counts["all"]
    assert counts["error"] == 1
    for article, name in zip(articles, ("a.png", "b.jpg", "broken.png"), strict=True):
        assert f"{two / name}</bdi></h1>" in article
    assert "Not examined" in articles[2]
    assert "by its first bytes, but the rest is damaged" in articles[2]


def _counted(page: str) -> list[tuple[str, dict[str, str], str]]:
    return [("b", {"data-count": kind}, number) for kind, number in re.findall(r'data-count="(\w+)">(\d+)<', page)]


def test_a_conflict_is_the_first_line(tiny_model: Path, tmp_path: Path, picture):
    exif = Image.Exif()
    exif[0x0131] = "Midjourney v6"
    detector = Detector.from_pretrained(tiny_model)
    picture(SEED_OF_A_PHOTOGRAPH).save(tmp_path / "a.png", exif=exif)
    verdict = detector.detect(tmp_path / "a.png")
    assert verdict.conflict  # the tiny model calls it a photograph
    arguments = [tmp_path / "a.png", "--model", tiny_model]
    page = page_of(*arguments, out=tmp_path / "out.html")
    article = _Parsed("<main>" + page.partition("<article")[2].partition(">")[2])
    assert article.text[0] == verdict.conflict
    picture(99).save(tmp_path / "b.png")
    both = page_of(*arguments, tmp_path / "b.png", out=tmp_path / "both.html")
    assert " ".join(_Parsed(both).text[:2]) == f"{tmp_path / 'a.png'} : {verdict.conflict}"


@pytest.mark.skipif(os.name == "nt", reason="Windows forbids such names")
def test_names_are_text_and_never_markup(tiny_model: Path, tmp_path: Path, picture):
    names = [
        "<img src=x onerror=alert(1)>.png",
        "\"&amp;'\u202egnp.exe.png",
        "$conflicts.png",
        os.fsdecode(b"\xff.png"),
    ]
    for seed, name in enumerate(names):
        picture(seed).save(tmp_path / name)
    page = page_of(*(tmp_path / name for name in names), "--model", tiny_model, out=tmp_path / "out.html")
    tags = _Parsed(page).tags
    assert not [attributes for _, attributes in tags if "onerror" in attributes or attributes.get("src") == "x"]
    assert html.escape(names[0]) in page
    assert "\u202e" not in page
    assert "\\xff.png" in page


def test_another_kind_of_file_is_refused_before_the_work(tiny_model: Path, two: Path, tmp_path: Path):
    result = invoke("detect", two, "--model", tiny_model, "--report", tmp_path / "out.pdf")
    assert result.exit_code == 2
    assert "a report is written as an HTML page" in result.stderr
    assert "open it in a browser and print it to PDF" in result.stderr
    assert not result.stdout
    result = invoke("detect", two, "--model", tiny_model, "--report", tmp_path / "o.html", "--results", tmp_path / "r")
    assert result.exit_code == 2
    assert "leave --heatmap, --report and --copy-to" in result.stderr.replace("\n", " ")


def test_a_run_that_ends_early_leaves_no_half_report(tiny_model: Path, two: Path, tmp_path: Path):
    [verdict] = Detector.from_pretrained(tiny_model).detect_batch([two / "b.jpg"], keep_pixels=True)
    out = tmp_path / "out.html"
    out.write_text("an earlier one")

    def end_early() -> None:
        with open_report(out, DecisionConfig()) as report:
            assert report is not None
            report.add(verdict)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        end_early()
    assert out.read_text() == "an earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.html"]


def test_a_model_without_reference_makes_a_report_without_map(tiny_model: Path, two: Path, tmp_path: Path):
    import json
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    config = json.loads((bare / "config.json").read_text())
    config["reference"] = {"levels": [], "values": []}
    (bare / "config.json").write_text(json.dumps(config))
    page = page_of(two / "b.jpg", "--model", bare, out=tmp_path / "out.html")
    assert "The picture, " in page
    assert "How hard each part is to predict" not in page


def test_it_holds_what_was_asked_for_in_the_order_asked_for(tiny_model: Path, tmp_path: Path, picture):
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(6):
        picture(seed).save(folder / f"{seed}.png")
    (folder / "0.jpg").write_bytes(b"no picture")
    verdicts = {v.path: v for v in Detector.from_pretrained(tiny_model).detect_batch(sorted(folder.iterdir()))}
    arguments = [folder, "--model", tiny_model]
    page = page_of(*arguments, "--sort", "score", out=tmp_path / "sorted.html", code=1)
    names = re.findall(r"<h1><bdi[^>]*>(.*?)</bdi></h1>", page)
    in_order = sorted(verdicts, key=lambda path: -(verdicts[path].prob_fake or -1))
    assert names == in_order
    assert re.findall(r'<bdi class="name">([^<]*)</bdi></a>', page) == in_order
    page = page_of(*arguments, "--only", "real", out=tmp_path / "only.html", code=1)
    names = re.findall(r"<h1><bdi[^>]*>(.*?)</bdi></h1>", page)
    assert names == [path for path, verdict in verdicts.items() if verdict.verdict == "real"]
    assert names
