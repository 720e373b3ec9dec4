"""The page in a real browser: everything a person does with it, by mouse, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, PngImagePlugin
from playwright.sync_api import Locator, Page, expect

from cinemae.app.output import CsvWriter
from cinemae.app.serve.page import MAX_FILES
from cinemae.detect.words import WORDS
from cinemae.evidence.image_warnings import WARNINGS

pytestmark = pytest.mark.slow
TITLES = {word: f"{text[0].upper()}{text[1:]}" for word, text in WORDS.items()}


def shown(probability: float) -> str:
    return f"{100 * probability:.0f} %"


def table(page: Page) -> list[list[str]]:
    """The text of each row's cells."""
    return page.locator("#rows tr").evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")


def pixels(image: Locator) -> Any:
    """What the browser decoded, (H, W, 3)."""
    url = image.evaluate(
        """async (image) => {
          await image.decode();
          const size = {width: image.naturalWidth, height: image.naturalHeight};
          const canvas = Object.assign(document.createElement("canvas"), size);
          canvas.getContext("2d").drawImage(image, 0, 0);
          return canvas.toDataURL("image/png");
        }"""
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def no_wider_than_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 740)])
def test_the_first_screen_says_signal_not_proof(server, open_page, width, height):
    page = open_page(server, width=width, height=height)
    for part in (
        page.get_by_text("A signal, not proof", exact=True),
        page.get_by_text("A score is a signal, not proof."),
    ):
        expect(part).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Choose images")).to_be_in_viewport(ratio=1)
    expect(page.locator("#results, #key-form, #progress-row").filter(visible=True)).to_have_count(0)
    expect(page.locator("#model")).to_contain_text("model tiny@")


def test_one_picture_gets_the_librarys_verdict_in_words(server, open_page, give, one, detector, screenshot):
    page = open_page(server)
    give(page, one)
    verdict = detector.detect(next(iter(one.values())))
    said = page.locator(".verdict")
    expect(said.locator(".word")).to_have_text(TITLES[verdict.verdict])
    expect(said.locator(".value")).to_have_text(shown(verdict.prob_fake))
    expect(page.get_by_role("heading", name="picture 1.png")).to_be_visible()
    expect(page.locator("#status")).to_have_text(
        f"picture 1.png: {WORDS[verdict.verdict]}, probability {shown(verdict.prob_fake)}."
    )
    expect(page.locator(".parts")).to_contain_text(verdict.reasons[0])
    assert verdict.warnings
    for warning in verdict.warnings:
        expect(page.locator(".parts").get_by_text(WARNINGS[warning])).to_have_count(1)  # told once, as a doubt
    page.get_by_text("File and figures").click()
    expect(page.locator(".technical")).to_contain_text(verdict.content_hash)
    expect(page.locator(".technical")).to_contain_text(verdict.model)
    expect(page.locator("#table-box")).to_be_hidden()
    screenshot(page, "verdict")


def test_the_map_is_fetched_when_asked_for_and_blended_by_a_slider(
    server, open_page, give, one, detector, tools, screenshot
):
    page = open_page(server)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    give(page, one)
    assert not [url for url in asked if "heatmap" in url]
    page.get_by_role("button", name="Show the map").click()
    map_, slider = page.locator("img.map"), page.get_by_role("slider", name="Blend of picture and map")
    expect(map_).to_be_visible()
    expect(slider).to_be_focused()
    expected = detector.detect(next(iter(one.values()))).heatmap(legend=False)
    assert np.array_equal(pixels(map_), np.asarray(expected))
    boxes = [element.bounding_box() for element in (map_, page.get_by_alt_text("The picture picture 1.png"))]
    assert boxes[0] == boxes[1]
    page.keyboard.press("Home")
    expect(map_).to_have_css("opacity", "0")
    expect(slider).to_have_attribute("aria-valuetext", "100 % picture, 0 % map")
    page.keyboard.press("End")
    expect(map_).to_have_css("opacity", "1")
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", "1 % picture, 99 % map")
    expect(page.locator("figure")).to_contain_text("the map does not show what is fake")
    screenshot(page, "map")


def test_paste(server, open_page, give, one, detector):
    page = open_page(server)
    page.evaluate(
        """async (bytes) => navigator.clipboard.write([
          new ClipboardItem({"image/png": new Blob([new Uint8Array(bytes)], {type: "image/png"})})])""",
        list(next(iter(one.values()))),
    )
    page.keyboard.press("Control+V")
    give.wait(page)
    probability = detector.detect(next(iter(one.values()))).prob_fake  # PNG to PNG: the browser keeps the pixels
    expect(page.locator(".value")).to_have_text(shown(probability))


def test_paste_while_the_slider_of_the_map_has_the_focus(server, open_page, give, one):
    page = open_page(server)
    give(page, one)
    page.get_by_role("button", name="Show the map").click()
    expect(page.get_by_role("slider", name="Blend of picture and map")).to_be_focused()
    page.evaluate("navigator.clipboard.writeText('https://example.org/photo.jpg')")
    page.keyboard.press("Control+V")
    expect(page.locator("#status")).to_contain_text("That is the address of a picture")


def test_drop(server, open_page, give, images):
    page = open_page(server)
    files = [[name, list(data)] for name, data in list(images.items())[:2]]
    carried = page.evaluate_handle(
        """(files) => {
          const carried = new DataTransfer();
          for (const [name, bytes] of files) carried.items.add(new File([new Uint8Array(bytes)], name));
          return carried;
        }""",
        files,
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": carried})
    expect(page.locator("#drop")).to_have_class(re.compile("over"))
    page.dispatch_event("#drop", "drop", {"dataTransfer": carried})
    give.wait(page)
    expect(page.locator("#drop")).not_to_have_class(re.compile("over"))
    assert [row[0].strip() for row in table(page)] == list(images)[:2]


def test_a_broken_file_is_a_row_with_its_sentence(server, open_page, give, images):
    page = open_page(server)
    give(page, {"broken.png": images["picture 1.png"][:60]})
    expect(page.locator(".word")).to_have_text("Could not be read")
    expect(page.locator(".verdict")).to_contain_text("This picture is damaged, incomplete or of a rare kind.")
    expect(page.locator(".exact")).to_contain_text("The file is PNG by its first bytes, but the rest is damaged")
    expect(page.locator("#status")).to_contain_text("broken.png: This picture is damaged")
    give(page, {"text.jpg": b"not a picture", "good.png": images["picture 1.png"], "empty.png": b""})
    expect(page.locator("#status")).to_contain_text("3 could not be read")
    rows = table(page)
    assert [row[0].strip() for row in rows] == ["broken.png", "text.jpg", "good.png", "empty.png"]
    assert rows[1][1].startswith("Could not be read\nThis is not a picture of a kind that can be read here")
    assert rows[3][1].endswith("This file is empty: there is no picture in it. Copy or download it again.")
    assert len(rows[2]) == 3


@pytest.fixture(scope="module")
def fifty(picture, tools) -> dict[str, bytes]:
    """Forty-eight pictures, one of them named as a formula, and two broken files."""
    files = {f"{seed:02}.png": tools.encode(picture(seed), "PNG") for seed in range(47)}
    return {
        **files,
        '=HYPERLINK("x").png': tools.encode(picture(99), "PNG"),
        "-1.png": b"no",
        "cut.png": b"\x89PNG\r\n",
    }


def test_fifty_files_as_a_table_and_as_csv(server, open_page, give, fifty, detector, tmp_path, screenshot):
    page = open_page(server)
    give(page, fifty)
    verdicts = dict(zip(fifty, detector.detect_batch(fifty.values()), strict=True))
    rows = table(page)
    assert [row[0].strip() for row in rows] == list(fifty)
    for name, row in zip(fifty, rows, strict=True):
        if verdicts[name].status == "ok":
            assert row[1].startswith(TITLES[verdicts[name].verdict])
            assert row[2] == shown(verdicts[name].prob_fake)
    screenshot(page, "fifty")

    header = page.get_by_role("columnheader", name="Probability")
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "descending")
    in_order = sorted((v.prob_fake for v in verdicts.values() if v.prob_fake is not None), reverse=True)
    assert [row[2] for row in table(page)[:48]] == [shown(probability) for probability in in_order]
    header.get_by_role("button").click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert [row[2] for row in table(page)[:48]] == [shown(probability) for probability in in_order[::-1]]
    assert all(row[1].startswith("Could not be read") for row in table(page)[48:])  # at the end either way

    with page.expect_download() as begun:
        page.get_by_role("button", name="Download CSV").click()
    assert begun.value.suggested_filename == "cinemae.csv"
    begun.value.save_as(tmp_path / "page.csv")
    check_csv((tmp_path / "page.csv").read_text(encoding="utf-8"), verdicts)


def check_csv(text: str, verdicts: dict[str, Any]) -> None:
    """Hold what the page wrote against what ``cinemae detect --format csv`` writes."""
    lines: list[str] = []
    writer = CsvWriter(lines.append)
    for name, verdict in verdicts.items():
        object.__setattr__(verdict, "path", name)
        writer.write(verdict)
    ours, theirs = (list(csv.DictReader(io.StringIO(part))) for part in (text, "\n".join(lines)))
    assert list(ours[0]) == list(theirs[0])
    assert [row["path"] for row in ours] == [row["path"] for row in theirs]
    assert {'./=HYPERLINK("x").png', "./-1.png"} < {row["path"] for row in ours}
    numbers = ("prob_fake", "logit", "threshold", "variability", "overall", "sensitivity", "ood_score")
    for mine, other in zip(ours, theirs, strict=True):
        for name in mine:
            if name in numbers and other[name]:
                assert float(mine[name]) == float(other[name])
            else:
                assert mine[name] == other[name], name


def test_more_than_one_request_takes_are_sent_in_turns(server, open_page, give, picture, tools, detector):
    files = {f"{seed:02}.png": tools.encode(picture(seed, 24, 24), "PNG") for seed in range(60)}
    page = open_page(server)
    give(page, files)
    rows = table(page)
    assert [row[0].strip() for row in rows] == list(files)
    assert [row[2] for row in rows] == [shown(detector.detect(data).prob_fake) for data in files.values()]


def test_more_than_the_page_lists_are_refused_with_a_sentence(server, open_page, give, one):
    page = open_page(server)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    give(page, {f"{number}.png": b"x" for number in range(MAX_FILES + 1)}, wait=False)
    expect(page.locator("#status")).to_have_text(
        f"This page takes at most {MAX_FILES} images, {MAX_FILES + 1} came: choose fewer, or use the command cinemae "
        "detect on the folder."
    )
    expect(page.locator("#results")).to_be_hidden()
    assert not [url for url in sent if "/v1/detect" in url]


@pytest.fixture
def folder(tmp_path, images) -> Path:
    """A folder with a picture, a picture in a folder within, and files that are none."""
    (tmp_path / "trip/day 2").mkdir(parents=True)
    for name, data in {"a.png": images["picture 1.png"], "day 2/b.PNG": images["picture 2.png"]}.items():
        (tmp_path / "trip" / name).write_bytes(data)
    for name in ("notes.txt", ".hidden.png", "day 2/film.mp4"):
        (tmp_path / "trip" / name).write_bytes(b"x")
    return tmp_path / "trip"


FOUND = ["trip/a.png", "trip/day 2/b.PNG"]


def test_a_folder_is_searched_to_the_bottom(server, open_page, give, folder):
    page = open_page(server)
    expect(page.get_by_role("button", name="Choose a folder")).to_be_visible()
    page.set_input_files("#folder", folder)
    give.wait(page)
    assert [row[0].strip() for row in table(page)] == FOUND
    expect(page.locator("#status")).to_contain_text("3 other files are no picture by name and were left out.")


def test_a_folder_may_be_dropped(server, open_page, give, folder):
    page = open_page(server)
    drop_from_outside(page, [folder])
    give.wait(page)
    assert [row[0].strip() for row in table(page)] == FOUND
    expect(page.locator("#status")).to_contain_text("3 other files are no picture by name and were left out.")


def test_a_folder_without_pictures_is_said_so(server, open_page, folder):
    page = open_page(server)
    (folder / "a.png").unlink()
    (folder / "day 2/b.PNG").unlink()
    drop_from_outside(page, [folder])
    expect(page.locator("#status")).to_contain_text("The folder holds no picture: 3 other files")
    expect(page.locator("#results")).to_be_hidden()


def drop_from_outside(page: Page, paths: list[Path]) -> None:
    """Drop files and folders as a file manager does, which no script can."""
    box = page.locator("#drop").bounding_box()
    assert box is not None
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 9, "y": box["y"] + 9, "data": data})


@pytest.mark.parametrize("paste", [False, True], ids=["drop", "paste"])
def test_the_address_of_a_picture_is_refused_and_nothing_is_fetched(server, open_page, paste):
    page = open_page(server)  # in the end the fixture holds that no other address was asked
    if paste:
        page.evaluate("navigator.clipboard.writeText('https://example.org/photo.jpg')")
        page.keyboard.press("Control+V")
    else:
        carried = page.evaluate_handle(
            """() => {
              const carried = new DataTransfer();
              carried.setData("text/uri-list", "https://example.org/photo.jpg");
              return carried;
            }"""
        )
        page.dispatch_event("#drop", "drop", {"dataTransfer": carried})
    expect(page.locator("#status")).to_have_text(
        "That is the address of a picture, not the picture. This service fetches nothing from the web: save the "
        "picture as a file, then choose the file here."
    )
    expect(page.locator("#results")).to_be_hidden()


def test_the_first_picture_is_shown_first_though_another_is_quicker(server, open_page, give, images):
    page = open_page(server)
    held: list[Any] = []

    def hold_first(route: Any) -> None:
        if b'filename="picture 0.png"' in (route.request.post_data_buffer or b""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/v1/detect", hold_first)
    give(page, images, wait=False)
    expect(page.locator("#count")).to_have_text("4 of 5")
    expect(page.locator("#detail")).to_be_hidden()
    held[0].continue_()
    give.wait(page)
    expect(page.get_by_role("heading", name="picture 0.png")).to_be_visible()


def test_the_list_is_kept_nowhere_but_in_the_page(server, open_page, give, images):
    page = open_page(server)
    give(page, images)
    kept = page.evaluate(
        """async () => [localStorage.length, sessionStorage.length, document.cookie, location.href,
          (await indexedDB.databases()).length, (await navigator.storage.estimate()).usage, history.state]"""
    )
    assert kept == [0, 0, "", f"{server.url}/", 0, 0, None]
    page.reload()
    expect(page.locator("#results")).to_be_hidden()


def test_by_keyboard_alone(server, open_page, images, give, tmp_path):
    page = open_page(server)
    page.on("filechooser", lambda _: None)  # from now on the browser hands its choosers over, and not too late
    for name, data in images.items():
        (tmp_path / name).write_bytes(data)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose a folder")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    chooser.value.set_files([tmp_path / name for name in images])
    give.wait(page)
    order = [
        "Choose a folder",
        "checkbox",
        "Save report",
        "Download CSV",
        "Clear all",
        "File",
        "Verdict",
        "Probability",
    ]
    for name in order:
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "document.activeElement.type === 'checkbox' ? 'checkbox' : document.activeElement.innerText"
        )
        assert focused.strip().startswith(name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("columnheader", name="Probability")).to_have_attribute("aria-sort", "descending")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    second = table(page)[1][0].strip()
    page.keyboard.press("Enter")
    title = page.get_by_role("heading", name=second)
    expect(title).to_be_focused()
    expect(page.locator("#rows [aria-current]")).to_have_text(second)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Show the map")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("slider")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".technical")).to_have_attribute("open", "")
    page.get_by_role("button", name="Clear all").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Choose images")).to_be_focused()
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("The list is empty.")


def test_on_a_phone_nothing_is_wider_than_the_screen(server, open_page, give, images, screenshot):
    page = open_page(server, width=360, height=740)
    no_wider_than_the_screen(page)
    screenshot(page, "phone-empty")
    long = "a" * 120 + ".png"
    give(page, {long: images["picture 2.png"]})
    page.get_by_role("button", name="Show the map").click()
    expect(page.locator("img.map")).to_be_visible()
    page.get_by_text("File and figures").click()
    no_wider_than_the_screen(page)
    screenshot(page, "phone-verdict")
    give(page, {**images, "broken.png": b"x"})
    page.get_by_text("What the warnings mean").click()
    no_wider_than_the_screen(page)
    screenshot(page, "phone-table")


def test_a_file_name_is_text_and_never_markup(server, open_page, give, images, tmp_path):
    names = ["<img src=x onerror=alert(1)>.png", "<script>alert(2)</script>.png", "\u202egnp.exe.png", "\"&amp;'.png"]
    page = open_page(server)
    give(page, dict(zip(names, images.values(), strict=False)))
    assert [row[0].strip() for row in table(page)] == [name.replace("\u202e", "") for name in names]
    page.locator("#rows button").first.click()
    expect(page.get_by_role("heading", name=names[0])).to_be_visible()
    assert page.locator("img[src='x'], #rows script, #detail script").count() == 0
    page.get_by_role("button", name="Clear all").click()
    give(page, {names[0]: b"broken"})  # the fixture holds that no dialog opened
    expect(page.locator("#status")).to_contain_text(names[0])


def test_what_the_file_says_is_shown_apart(server, open_page, give, picture, tools, detector):
    note = PngImagePlugin.PngInfo()
    note.add_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 60x50, Model: x")
    data = tools.encode(picture(1), "PNG", pnginfo=note)
    signals = detector.detect(data).provenance
    assert signals
    page = open_page(server)
    give(page, {"a.png": data})
    part = page.locator("section.part", has=page.get_by_role("heading", name="What the file says of its origin"))
    for signal in signals:
        expect(part).to_contain_text(f"{signal.sentence[1:]}. not verified")
    expect(part).to_contain_text("Separate evidence: it does not enter the score.")


def test_the_stability_check_is_asked_for_and_shown(server, open_page, give, one, detector):
    page = open_page(server)
    page.get_by_role("checkbox").check()
    with page.expect_request("**/v1/detect?stable=true"):
        give(page, one)
    found = detector.detect(next(iter(one.values())), stable=True).redeliveries
    verdict = detector.detect(next(iter(one.values())), stable=True)
    assert found
    for group in ("why", "doubt"):
        for sentence in verdict.explanation.under(group):
            expect(page.locator(".parts")).to_contain_text(sentence)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_in_any_state(server, open_page, give, images, dark, screenshot):
    page, axe, scheme = open_page(server, dark=dark), Axe(), "dark" if dark else "light"
    light_ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0] > 128")
    assert light_ground is not dark

    def check(state: str) -> None:
        screenshot(page, f"{state}-{scheme}")
        found = axe.run(page).response["violations"]
        assert [(each["id"], each["impact"], [node["html"] for node in each["nodes"]]) for each in found] == []

    check("empty")
    give(page, {"picture 3.png": images["picture 3.png"]})
    page.get_by_role("button", name="Show the map").click()
    expect(page.locator("img.map")).to_be_visible()
    page.get_by_text("File and figures").click()
    page.get_by_text("What the warnings mean").click()
    check("verdict")
    give(page, {**images, "broken.png": b"x"})
    page.get_by_role("columnheader", name="Probability").get_by_role("button").click()
    check("table")


def test_the_interface_is_shown_at_docs_and_asks_nothing_of_others(server, open_page, screenshot):
    page = open_page(server)
    page.get_by_role("link", name="REST interface").click()
    for path in ("/v1/detect", "/v1/report", "/v1/heatmap"):
        expect(page.locator(f"[data-path='{path}']")).to_be_visible()
    page.get_by_text("Tell the model, its thresholds and the limits").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table")).to_contain_text("tiny@")
    screenshot(page, "docs")
