"""The REST interface at /docs, Swagger UI in our page: read, opened and tried, on a phone, and in the dark."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow


@pytest.fixture
def open_docs(server, open_page):
    def open_one(**options: Any) -> Page:
        page = open_page(server, **options)
        page.get_by_role("link", name="REST interface").click()
        expect(page.locator(".opblock")).to_have_count(7)
        return page

    return open_one


def axe_finds_nothing(page: Page) -> None:
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (1280, True), (360, False), (360, True)],
    ids=["desktop", "desktop-dark", "phone", "phone-dark"],
)  # fmt: skip
def test_axe_finds_nothing_closed_or_opened(open_docs, screenshot, width, dark):
    page = open_docs(width=width, dark=dark)
    expect(page.locator(".opblock-tag")).to_have_text(["images", "service"])
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (background == "rgb(28, 32, 34)") == dark
    axe_finds_nothing(page)
    screenshot(page, f"docs-{width}-{'dark' if dark else 'light'}")
    for operation in page.locator(".opblock-summary-control").all():
        operation.click()
        expect(operation).to_have_attribute("aria-expanded", "true")
    axe_finds_nothing(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    boxes = page.locator("pre.microlight").evaluate_all(
        "all => all.map(one => [one.scrollHeight - one.clientHeight, one.scrollWidth - one.clientWidth])"
    )
    assert boxes
    assert max(max(box) for box in boxes) <= 0  # no example runs over what stands below it


def test_a_picture_can_be_sent_from_there(open_docs, detector, one, tmp_path):
    page = open_docs()
    operation = page.locator("#operations-images-detect_v1_detect_post")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    (tmp_path / "picture.png").write_bytes(next(iter(one.values())))
    operation.locator("input[type=file]").set_input_files(tmp_path / "picture.png")
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table .response-col_description pre").first
    expect(answer).to_contain_text(f'"prob_fake": {detector.detect(tmp_path / "picture.png").prob_fake}')
    axe_finds_nothing(page)
