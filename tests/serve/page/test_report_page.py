"""The report that the page saves: opened from the disk, on a phone, in the dark, and printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from cinemae.app.report.document import ReportContext, render
from cinemae.app.report.drawings import Drawings

pytestmark = pytest.mark.slow


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Page], Path]:
    """Save the report of all that a page shows."""

    def save_report(page: Page) -> Path:
        with page.expect_download() as begun:
            page.get_by_role("button", name="Save report").click()
        assert begun.value.suggested_filename == "cinemae-report.html"
        begun.value.save_as(tmp_path / "report.html")
        expect(page.locator("#status")).to_have_text("The report is saved: one file to keep, send or print.")
        return tmp_path / "report.html"

    return save_report


def without_date(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", text)


def expected(detector, files: dict[str, bytes]) -> list[str]:
    """The articles that the library makes of these files, as the browser reads them."""
    import dataclasses

    verdicts = detector.detect_batch(files.values(), keep_pixels=True)
    named = [dataclasses.replace(verdict, path=name) for name, verdict in zip(files, verdicts, strict=True)]
    return render([(verdict, Drawings.of(verdict)) for verdict in named], ReportContext.now(detector.decision))


def test_one_image(server, open_page, open_file, give, one, detector, save):
    page = open_page(server)
    give(page, one)
    kept, made = save(page).read_text(encoding="utf-8"), expected(detector, one)
    assert "<script" not in kept
    for part in (r"<article.*?</article>", r"<style>.*?</style>", r"<dl>.*?</dl>"):
        there, ours = (re.search(part, without_date(text), re.DOTALL) for text in (kept, made))
        assert _plain(there[0]) == _plain(ours[0])


def _plain(markup: str) -> str:
    """What the browser writes anew in its own way: how empty elements end, and quotes."""
    return re.sub(r"\s+", " ", markup.replace("/>", ">").replace("></rect>", ">").replace("></path>", ">"))


def test_many_images_are_joined_in_the_order_of_the_table(server, open_page, open_file, give, images, save, screenshot):
    page = open_page(server)
    give(page, {**images, "<b>broken</b>.png": images["picture 1.png"][:60]})
    page.get_by_role("columnheader", name="Probability").get_by_role("button").click()
    order = page.locator("#rows tr th").all_inner_texts()
    report = open_file(save(page))
    expect(report.locator("article h1")).to_have_text([name.strip() for name in order])
    expect(report.locator(".images .name")).to_have_text([name.strip() for name in order])
    expect(report.locator("[data-count=all]")).to_have_text("6")
    expect(report.locator("[data-count=error]")).to_have_text("1")
    expect(report.locator("article.error")).to_contain_text("but the rest is damaged")
    report.locator(".images a").nth(3).click()
    expect(report.locator("article").nth(3)).to_be_in_viewport()
    assert report.locator("img").evaluate_all("all => all.every(one => one.naturalWidth > 0)")
    screenshot(report, "report-many")


@pytest.fixture(scope="module")
def conflicting(detector, picture, tools) -> dict[str, bytes]:
    """A picture that the tiny model calls a photograph, and that names a generator."""
    exif = Image.Exif()
    exif[0x0131] = "Midjourney v6"
    data = tools.encode(picture(2, 900, 1300), "JPEG", exif=exif)
    for seed in range(2, 60):
        data = tools.encode(picture(seed, 300, 430), "JPEG", exif=exif)
        if detector.detect(data).conflict:
            return {"conflict.jpg": data}
    raise AssertionError("the tiny model calls no drawn picture a photograph")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_and_the_conflict_comes_first(
    detector, conflicting, images, open_file, screenshot, tmp_path, dark
):
    for name, files in {"report-one": conflicting, "report-two": {**conflicting, **images}}.items():
        (tmp_path / f"{name}.html").write_text(expected(detector, files), encoding="utf-8")
        for width in (1280, 360):
            page = open_file(tmp_path / f"{name}.html", dark=dark, width=width)
            screenshot(page, f"{name}-{width}-{'dark' if dark else 'light'}")
            first = page.locator("main").inner_text().strip().splitlines()[0]
            assert "Conflict: by its score it is a photograph, yet the file names Midjourney" in first
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            found = Axe().run(page).response["violations"]
            assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


def test_printed_it_keeps_scale_and_colours_a_page_an_image(
    detector, conflicting, images, open_file, screenshot, tmp_path
):
    files = {**conflicting, **images}
    (tmp_path / "one.html").write_text(expected(detector, conflicting), encoding="utf-8")
    (tmp_path / "many.html").write_text(expected(detector, files), encoding="utf-8")
    for name, pages in {"one": 1, "many": 1 + len(files)}.items():
        page = open_file(tmp_path / f"{name}.html", dark=True)
        printed = page.pdf(prefer_css_page_size=True)
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) == pages
    page.emulate_media(media="print")
    for scale in page.locator("svg.scale").all():
        expect(scale).to_be_visible()
    for chosen in (".verdict", ".scale .ai", ".ramp"):
        expect(page.locator(chosen).first).to_have_css("print-color-adjust", "exact")
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")  # also where the screen is dark
    screenshot(page, "report-printed")


def test_a_service_that_is_gone_is_said_so(server, open_page, give, one):
    page = open_page(server)
    give(page, one)
    page.route("**/v1/report", lambda route: route.abort())
    page.get_by_role("button", name="Save report").click()
    expect(page.locator("#status")).to_contain_text("No report: The service could not be reached")
    expect(page.get_by_role("button", name="Save report")).to_be_enabled()
