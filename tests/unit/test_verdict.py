"""What a verdict says beside its probability: doubts by re-delivery, unlikeness, warnings, and the file's own words."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from cinemae.app.output import CsvWriter, TableWriter
from cinemae.config import DecisionConfig, ModelConfig, OodReference
from cinemae.core.preprocess import preprocess
from cinemae.detect.detector import Detector
from cinemae.detect.reasons import GROUPS, Reasons, conflict_of, reasons_for
from cinemae.detect.verdict import Verdict
from cinemae.detect.words import flipped, word_for
from cinemae.evidence.redelivery import MASK_SEEDS, REDELIVERIES
from cinemae.evidence.signals import ProvenanceSignal
from cinemae.models.checked_scores import CheckedScores
from cinemae.models.scorers import Scores
from cinemae.pictures.corruptions import parse_condition
from cinemae.pictures.image import load_image

NAMES = [*REDELIVERIES, *(f"mask_seed={seed}" for seed in MASK_SEEDS)]
DECISION = DecisionConfig(threshold=0.6, real_below=0.4, target_fpr=0.02, rule="drawn from a hat")


@pytest.fixture(scope="module")
def detector(tiny_model: Path) -> Detector:
    return Detector.from_pretrained(tiny_model)


class StubScorer:
    """Gives probabilities in turn, the picture itself first, and one distance for all."""

    one_by_one = False

    def __init__(self, config: ModelConfig, *probabilities: float, distance: float = np.nan) -> None:
        self.config, self.distance, self._left = config, distance, list(probabilities)
        self.model_id = config.model_id
        self.mask_seeds: list[int | None] = []

    def score(self, pixel_values: np.ndarray, *, mask_seed: int | None = None) -> Scores:
        n = len(pixel_values)
        self.mask_seeds.append(mask_seed)
        prob = np.array([self._left.pop(0) for _ in range(n)])
        lcas = np.zeros((n, 2, 16), np.float32)
        return Scores(np.zeros(n), prob, np.zeros((n, 3)), lcas, np.full(n, self.distance))

    def lcas_map(self, pixel_values: np.ndarray) -> np.ndarray:
        return np.zeros((4, 4), np.float32)


@pytest.fixture
def stub(detector: Detector):
    def make(*probabilities: float, distance: float = np.nan) -> Detector:
        ood = OodReference(levels=(0.0, 1.0), values=(0.0, 10.0), limit=0.9)
        config = dataclasses.replace(detector.config, decision=DECISION, ood=ood)
        return Detector(StubScorer(config, *probabilities, distance=distance))

    return make


@pytest.mark.parametrize(("prob_fake", "word"), [(0.0, "real"), (0.399, "real"), (0.4, "uncertain"), (0.6, "ai")])
def test_the_word_follows_from_probability_and_limits(prob_fake: float, word: str):
    assert word_for(prob_fake, DECISION) == word


def test_a_flip_is_any_other_word_than_ai_or_real_of_the_picture_itself():
    redeliveries = {"jpeg=85": 0.7, "resize=0.75": 0.5, "mirror": 0.1}
    assert flipped("ai", redeliveries, DECISION) == {"resize=0.75": "uncertain", "mirror": "real"}
    assert flipped("real", redeliveries, DECISION) == {"jpeg=85": "ai", "resize=0.75": "uncertain"}
    assert flipped("uncertain", redeliveries, DECISION) == {}


CHECKED = CheckedScores(800, 600, real=(-4.0, 0.0, 1.0), fake=(-2.0, 0.0, 2.0), uncertain=0.3)
MEASURED = dataclasses.replace(DECISION, measured_fpr=0.019, measured_fnr=0.12)


def reasons_of(prob_fake: float, *, logit: float = 0.0, decision: DecisionConfig = DECISION, **more) -> Reasons:
    checked = more.pop("checked", None)
    return reasons_for(Verdict("a.png", "ok", prob_fake=prob_fake, logit=logit, **more), decision, checked)


@pytest.mark.parametrize(
    ("prob_fake", "text"),
    [
        (0.75, "75 %: from 60 % on, an image is called AI-generated."),
        (0.5, "50 %: from 40 % to 60 %, the model cannot tell."),
        (0.25, "25 %: below 40 %, an image is called a photograph."),
        (0.598, "59.8 %: from 40.0 % to 60.0 %, the model cannot tell."),
        (0.0001, "less than 1 %: below 40 %, an image is called a photograph."),
    ],
)
def test_the_first_reason_is_the_probability_and_its_limit(prob_fake: float, text: str):
    reasons = reasons_of(prob_fake, warnings=("grayscale", "a_name_of_tomorrow"))
    assert reasons.sentences[0] == f"The probability of being AI-generated is {text}"
    assert reasons.kinds == ("score", "warning", "warning")
    assert "gray, or toned" in reasons.sentences[1]
    assert reasons.sentences[2:] == ("a_name_of_tomorrow",)


@pytest.mark.parametrize(
    ("prob_fake", "logit", "comparison", "risk"),
    [
        (0.75, 0.5, "higher than that of 75 % of the 800 photographs", "1.9 % of the photographs were called AI-gen"),
        (0.25, -1.0, "lower than that of 75 % of the 600 AI-generated images", "12 % of the AI-generated ones were"),
        (
            0.5,
            0.0,
            "of 50 % of the 800 photographs and lower than that of 50 % of the 600",
            "could not tell for 30 % of the images",
        ),
        (
            0.75,
            9.0,
            "higher than that of more than 99 % of the 800",
            "1.9 % of the photographs were called AI-generated",
        ),
    ],
)
def test_a_verdict_is_compared_and_has_a_risk_of_its_own(prob_fake, logit, comparison, risk):
    reasons = reasons_of(prob_fake, logit=logit, decision=MEASURED, checked=CHECKED)
    assert reasons.kinds == ("score", "comparison", "risk")
    assert comparison in reasons.sentences[1]
    assert risk in reasons.sentences[2]
    assert reasons.under("why") == reasons.sentences[:2]
    assert reasons.under("doubt") == reasons.sentences[2:]
    assert "comparison" not in reasons_of(prob_fake, logit=logit, decision=MEASURED).kinds


def test_reasons_come_in_the_order_of_their_groups():
    reasons = reasons_of(
        0.3,
        decision=MEASURED,
        checked=CHECKED,
        warnings=("small",),
        redeliveries={"mirror": 0.5},
        provenance=(signal("generated"),),
    )
    assert reasons.kinds == ("score", "comparison", "declared", "deliveries_differ", "warning")
    assert sorted(reasons.kinds, key=list(GROUPS).index) == list(reasons.kinds)
    assert reasons.under("file") == ("The file says generated.",)


def test_a_verdict_kept_without_kinds_still_tells_its_conflict():
    old = Verdict("a.png", "ok", reasons=("Conflict: x.", "The probability is y."))
    assert old.explanation.kinds == ("conflict", "score")


def signal(says: str, *, verified: bool | None = None) -> ProvenanceSignal:
    return ProvenanceSignal("exif", "Software", "x", says, verified, f"the file says {says}")


@pytest.mark.parametrize(
    ("word", "says", "verified", "contradicts"),
    [
        ("real", "generated", None, True),
        ("real", "edited", None, False),
        ("real", "camera", True, False),
        ("ai", "camera", True, True),
        ("ai", "camera", None, False),
        ("ai", "camera", False, False),
        ("ai", "generated", None, False),
        ("uncertain", "generated", None, False),
    ],
)
def test_a_conflict_with_the_file(word: str, says: str, verified: bool | None, contradicts: bool):
    said = [signal("unknown"), signal(says, verified=verified)]
    assert (conflict_of(word, said) is not None) is contradicts


def test_a_conflict_is_the_first_reason_and_leaves_the_score(stub, tmp_path):
    exif = Image.Exif()
    exif[0x0131] = "Midjourney v6"
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64), (9, 99, 199)).save(path, exif=exif)
    verdict = stub(0.1).detect(path)
    assert (verdict.verdict, verdict.prob_fake) == ("real", 0.1)
    assert verdict.conflict == verdict.reasons[0]
    assert verdict.conflict.startswith("Conflict: by its score it is a photograph, yet the file names Midjourney")
    assert verdict.reasons[1].startswith("The probability of being AI-generated is 10 %")
    assert stub(0.5).detect(path).conflict is None
    lines: list[str] = []
    writer = TableWriter(lines.append, DECISION, colour=False)
    writer.write(verdict)
    assert lines[2].strip().startswith("Conflict: ")


class TestStable:
    def test_without_it_one_score_decides(self, stub, picture):
        verdict = stub(0.7).detect(picture(0))
        assert (verdict.verdict, verdict.redeliveries) == ("ai", None)
        assert verdict.false_positive_rate == 0.02

    def test_a_flip_makes_the_verdict_uncertain_and_is_named(self, stub, picture):
        verdict = stub(0.7, 0.7, 0.5, 0.7, 0.7, 0.3).detect(picture(0), stable=True)
        assert (verdict.verdict, verdict.prob_fake) == ("uncertain", 0.7)
        assert list(verdict.redeliveries) == NAMES
        [differ] = verdict.explanation.under("doubt")[:1]
        assert differ == (
            "As it is, the picture is called AI-generated; made smaller, it is uncertain; with other parts hidden, "
            "it is called a photograph."
        )

    @pytest.mark.parametrize(("prob_fake", "word"), [(0.9, "ai"), (0.1, "real"), (0.5, "uncertain")])
    def test_where_all_agree_the_verdict_stays(self, stub, picture, prob_fake, word):
        verdict = stub(*[prob_fake] * 6).detect(picture(0), stable=True)
        assert verdict.verdict == word
        assert verdict.redeliveries == dict.fromkeys(NAMES, prob_fake)
        assert verdict.to_dict()["redeliveries"] == verdict.redeliveries
        [agree] = [reason.sentence for reason in verdict.explanation.items if reason.kind == "deliveries_agree"]
        assert "mirrored and with other parts hidden (twice)" in agree
        assert agree in verdict.explanation.under("why")

    def test_re_deliveries_are_what_their_names_say(self, detector: Detector, picture):
        drawn = picture(3, 90, 70)
        verdict = detector.detect(drawn, stable=True)
        for name in ("jpeg=85", "resize=0.75"):
            again = parse_condition(name).apply(drawn, verdict.content_hash)
            assert verdict.redeliveries[name] == detector.detect(again).prob_fake
        assert verdict.redeliveries["mirror"] == detector.detect(ImageOps.mirror(drawn)).prob_fake
        pixel_values = preprocess(load_image(drawn).image, detector.config.extractor.image)[None]
        for seed in MASK_SEEDS:
            expected = detector.scorer.score(pixel_values, mask_seed=seed).prob_fake[0]
            assert verdict.redeliveries[f"mask_seed={seed}"] == expected
        assert len(set(verdict.redeliveries.values())) == 5

    def test_batches_say_the_same_with_broken_files_between(self, detector: Detector, photos: Path):
        files = sorted(path for path in photos.rglob("*") if path.is_file())
        verdicts = list(detector.detect_batch(files, batch_size=4, stable=True))
        assert [verdict.status for verdict in verdicts].count("error") == 3
        for path, verdict in zip(files, verdicts, strict=True):
            if verdict.status == "ok":
                assert verdict == detector.detect(path, stable=True)

    def test_a_re_delivery_without_a_number_is_an_error(self, stub, picture):
        [verdict] = stub(0.7, 0.7, np.nan, 0.7, 0.7, 0.7).detect_batch([picture(0)], stable=True)
        assert verdict.status == "error"
        assert "gave a score that is no number" in verdict.error_message


class TestUnlikeness:
    def test_is_a_share_and_far_out_a_warning_with_its_reason(self, stub, picture):
        verdict = stub(0.7, distance=9.5).detect(picture(0))
        assert verdict.ood_score == pytest.approx(0.95)
        assert verdict.warnings[-1] == "out_of_distribution"
        assert "unlike those that the model was made with" in verdict.reasons[-1]
        near = stub(0.7, distance=5.0).detect(picture(0))
        assert near.ood_score == pytest.approx(0.5)
        assert "out_of_distribution" not in near.warnings

    def test_is_none_where_the_model_cannot_say(self, stub, picture):
        verdict = stub(0.7).detect(picture(0))
        assert verdict.ood_score is None
        assert "out_of_distribution" not in verdict.warnings


class TestProvenance:
    def test_is_read_from_files_of_every_kind_and_leaves_the_score_alone(self, detector: Detector, tmp_path, picture):
        exif = Image.Exif()
        exif[0x0131] = "Midjourney v6"
        picture(5).save(tmp_path / "said.png", exif=exif)
        picture(5).save(tmp_path / "silent.png")
        data = (tmp_path / "said.png").read_bytes()
        sources = [tmp_path / "said.png", str(tmp_path / "said.png"), data, bytearray(data), io.BytesIO(data)]
        verdicts = [detector.detect(source) for source in sources]
        for verdict in verdicts:
            [signal] = verdict.provenance
            assert (signal.value, signal.says) == ("Midjourney v6", "generated")
            assert verdict.to_dict()["provenance"] == [signal.to_dict()]
        silent = detector.detect(tmp_path / "silent.png")
        assert silent.provenance == detector.detect(picture(5)).provenance == ()
        same = ("verdict", "prob_fake", "logit", "warnings")
        assert [getattr(silent, name) for name in same] == [getattr(verdicts[0], name) for name in same]
        conflict = verdicts[0].conflict
        declared = verdicts[0].explanation.under("file")
        assert "Midjourney" in declared[0]
        rest = [said for said in verdicts[0].reasons if said != conflict and said not in declared]
        assert rest == list(silent.reasons)


def test_a_threshold_set_by_hand_states_no_rate(stub, tiny_model: Path, picture):
    by_hand = Detector(stub(0.7).scorer, threshold=0.65)
    assert by_hand.detect(picture(0)).false_positive_rate is None


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\rb.jpg", 'a"b,c.jpg', "a;b.jpg"])
def test_a_line_of_csv_holds_any_file_name(name: str):
    text = io.StringIO()
    writer = CsvWriter(lambda line: text.write(line + "\n"))
    writer.write(Verdict(name, "error", error_message="no"))
    writer.write(Verdict("z.jpg", "error", error_message="no"))
    rows = list(csv.DictReader(io.StringIO(text.getvalue(), newline="")))
    assert [row["path"] for row in rows] == [name, "z.jpg"]
