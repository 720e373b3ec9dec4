"""A real Chromium on the real service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from cinemae.detect.detector import Detector


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """``open_page(server, dark=True, width=360)``; in the end it holds that nothing went wrong or elsewhere."""
    opened: list[tuple[Page, str, list[str], list[str]]] = []

    def open_one(server: Any, *, width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        page = context.new_page()
        asked: list[str] = []
        wrong: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if "Policy" in message.text else None)
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        page.goto(server.url)
        opened.append((page, server.url, asked, wrong))
        return page

    yield open_one
    for page, url, asked, wrong in opened:
        page.context.close()
        assert wrong == []
        assert asked
        assert [address for address in asked if not address.startswith((f"{url}/", f"blob:{url}/"))] == []


@pytest.fixture
def give() -> Callable[..., None]:
    """``give(page, {name: bytes})`` chooses files, and waits until all that is there is scored."""

    def choose(page: Page, files: dict[str, bytes], *, wait: bool = True) -> None:
        payload = [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files.items()]
        page.set_input_files("#files", payload)
        if wait:
            wait_until_done(page)

    def wait_until_done(page: Page) -> None:
        expect(page.locator("#status")).to_have_text(re.compile(r"^\d+ images: |: .*(probability|\.$)"), timeout=30_000)

    choose.wait = wait_until_done  # type: ignore[attr-defined]
    return choose


@pytest.fixture(scope="module")
def server(in_thread):
    with in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def detector(tiny_model):
    return Detector.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def images(picture, tools) -> dict[str, bytes]:
    """Five pictures by name."""
    return {f"picture {seed}.png": tools.encode(picture(seed, 96, 72), "PNG") for seed in range(5)}


@pytest.fixture(scope="module")
def one(images) -> dict[str, bytes]:
    return {"picture 1.png": images["picture 1.png"]}
