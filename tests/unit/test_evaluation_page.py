"""The page of an evaluation in a real browser: tables fit their box, and a switch shows the rest of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from cinemae.evaluation.predictions import Column, Images, Predictions
from cinemae.evaluation.report import write_report
from cinemae.evaluation.tables import tabulate

pytestmark = pytest.mark.slow
GENERATORS = ("a generator with quite a long name, version 6.1", "gan", "sd", "vq")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of two detectors, one of them with three verdicts, under some conditions."""
    rng = np.random.default_rng(0)
    names = ["slr"] * 40 + [name for name in GENERATORS for _ in range(20)]
    rows = [
        {
            "path": f"{name}/{index}.png", "content_hash": f"{index:064x}", "label": int(name != "slr"),
            "generator": name, "container": "PNG", "width": 30 + index % 7, "height": 30, "num_bytes": 99,
        }
        for index, name in enumerate(names)
    ]  # fmt: skip
    columns = (Column("cinemae", threshold=0.6, threshold_rule="the model's own", real_below=0.4), Column("other"))
    centre = np.array([[0.4] * 2 if name == "slr" else [0.6] * 2 for name in names])
    scores = {name: (centre + rng.normal(0, 0.15, centre.shape)).clip(0, 1) for name in ("raw", "aligned", "jpeg=50")}
    folder = tmp_path_factory.mktemp("evaluation")
    write_report(tabulate(Predictions(Images.from_rows(rows), columns, scores)), folder, title="Evaluation of cinemae")
    return folder / "report.html"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)], ids=["desktop", "phone-dark"])
def test_tables_fit_their_box_and_the_first_column_stays(report, open_file, screenshot, width, dark):
    page = open_file(report, width=width, dark=dark)
    screenshot(page, f"evaluation-{width}-{'dark' if dark else 'light'}")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    box = page.get_by_role("region", name="Table: cinemae, raw", exact=True)
    overflow = "box => box.scrollWidth - box.clientWidth"
    assert width == 360 or box.evaluate(overflow) <= 0
    expect(box.get_by_role("columnheader", name="AP", exact=True)).to_be_hidden()
    page.locator(".switched", has=box).get_by_label("All 13 columns").check()
    expect(box.get_by_role("columnheader", name="AP", exact=True)).to_be_visible()
    assert box.evaluate(overflow) > 0
    first = box.get_by_role("rowheader", name="gan", exact=True)
    before = first.bounding_box()
    box.evaluate("box => { box.scrollLeft = 300; }")
    assert first.bounding_box() == before
    expect(first).to_have_css("position", "sticky")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    for alt in ("ROC curve, raw", "The three verdicts, cinemae, raw"):
        expect(page.get_by_alt_text(alt)).to_be_visible()
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
