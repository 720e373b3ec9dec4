"""What is said of the compared methods is what runs, and what does not run says why."""

from pathlib import Path

import pytest

from cinemae.errors import ConfigError
from cinemae.evaluation.baselines.methods import METHODS, absent_method, methods_table
from cinemae.evaluation.baselines.registry import BASELINES
from cinemae.evaluation.detectors import Setup, make_sources
from cinemae.evaluation.protocols.protocol import DETECTORS, list_protocols, read_protocol

DOCS = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
ABSENT = [method for method in METHODS if not method.runs]
OWN_ROWS = {"cinemae", "nll", "lcas", "format-probe"}


def test_every_baseline_is_described_and_every_method_that_runs_is_a_baseline():
    assert [method.name for method in METHODS if method.runs] == sorted(
        BASELINES, key=[method.name for method in METHODS].index
    )
    assert len({method.name for method in METHODS}) == len(METHODS)
    assert set(DETECTORS) <= {*BASELINES, *OWN_ROWS}


def test_every_method_of_the_papers_tables_is_known():
    titles = {method.title for method in METHODS}
    other_names = {"PatchCr.": "PatchCraft", "DIRE-G": "DIRE"}
    for name in ("table1", "table2", "table3", "table4"):
        for row in read_protocol(name).rows:
            title = row.name.partition(" [")[0].partition(",")[0]
            if row.paper and not title.startswith("CINEMAE"):
                assert other_names.get(title, title) in titles, row.name


def test_every_row_that_a_method_here_can_measure_is_measured_by_it():
    runs = {method.title: method.name for method in METHODS if method.runs}
    for name in list_protocols():
        for row in read_protocol(name).rows:
            title = row.name.partition(" [")[0].partition(", SD")[0].partition(", All")[0]
            title = {"PatchCr.": "PatchCraft"}.get(title, title)
            if title in runs:
                assert row.detector == runs[title], (name, row.name)


@pytest.mark.parametrize("method", ABSENT, ids=lambda method: method.name)
def test_an_absent_method_says_what_is_missing_and_what_to_do(method):
    with pytest.raises(ConfigError) as caught:
        make_sources([method.name.upper()], Setup())
    sentence = str(caught.value)
    assert sentence.startswith(f"{method.title} ({method.paper}) cannot be trained or run here: ")
    assert method.project in sentence
    assert method.licence in sentence
    assert sentence.endswith(method.command)
    assert absent_method(method.name) is method


def test_lgrad_word_for_word():
    assert absent_method("lgrad").missing == (
        "LGrad (Tan et al. 2023, CVPR) cannot be trained or run here: the StyleGAN discriminator whose gradients it "
        "takes and its ResNet-50 lie on Google Drive. Code: chuangchuangtan/LGrad on GitHub (licence: none stated). To "
        "compare with it, with DetectZoo, which fetches them: --detector detectzoo:lgrad"
    )


def test_the_table_of_the_docs_is_generated_from_here():
    assert methods_table() in DOCS.read_text(encoding="utf-8"), "run: cog -r docs/evaluation.md"
