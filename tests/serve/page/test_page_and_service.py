"""What the page does when the service is full, gone, or wants an API key."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from cinemae.detect.detector import Detector

pytestmark = pytest.mark.slow
KEY = "a-key-of-sixteen-characters"


class _Slow:
    """A detector that takes its time."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def __getattr__(self, name: str) -> Any:
        return getattr(self.detector, name)

    def detect_batch(self, images: Any, **options: Any) -> Iterator[Any]:
        for verdict in self.detector.detect_batch(images, **options):
            time.sleep(0.3)
            yield verdict


def test_a_full_service_is_waited_for_and_every_picture_gets_its_own_score(
    in_thread, open_page, give, images, detector
):
    with in_thread(detector=_Slow(detector), queue=1, max_files=1, workers=1) as server:
        page = open_page(server)
        statuses: list[int] = []
        said: list[str] = []
        page.on("response", lambda answer: "/v1/detect" in answer.url and statuses.append(answer.status))
        page.expose_function("tell", lambda text: said.append(text))
        page.evaluate(
            """() => {
              const told = document.getElementById("status");
              new MutationObserver(() => tell(told.textContent)).observe(told, {childList: true});
            }"""
        )
        give(page, images)
        assert 503 in statuses
        assert statuses.count(200) == len(images)
        assert any(re.fullmatch(r"The service is busy\. Trying again in \d+ s\.", text) for text in said)
        assert "Examining 5 images …" in said[said.index(next(text for text in said if "is busy" in text)) :]  # again
        expected = [f"{100 * detector.detect(data).prob_fake:.0f} %" for data in images.values()]
        assert page.locator("#rows td.number").all_inner_texts() == expected


def test_a_service_that_is_gone_is_said_so(server, open_page, give, one):
    page = open_page(server)
    page.route("**/v1/detect", lambda route: route.abort())
    give(page, one)
    expect(page.locator(".verdict")).to_contain_text("The service could not be reached: check that it runs")


def test_a_key_is_asked_for_only_where_one_is_needed(in_thread, open_page, give, one):
    with in_thread(keys=[KEY]) as server:
        page = open_page(server)
        field = page.get_by_label("This service needs an API key")
        expect(field).to_be_visible()
        give(page, one, wait=False)
        field.fill("a-wrong-key-of-enough-characters")
        page.keyboard.press("Enter")
        expect(page.locator("#key-note")).to_contain_text("The service did not take this key")
        expect(field).to_have_value("")
        field.fill(KEY)
        with page.expect_request("**/v1/detect") as sent:
            page.get_by_role("button", name="Use this key").click()
        give.wait(page)
        expect(page.locator(".value")).to_be_visible()
        expect(field).to_be_hidden()
        assert sent.value.headers["x-api-key"] == KEY
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
