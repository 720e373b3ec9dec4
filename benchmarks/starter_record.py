"""What the bundled model reaches on families and sources that training did not see: the figures of docs/starter.md.

`benchmarks.starter_model` calls it with the cross-fitted scores; the record, `results/starter_model.json`, names no
picture.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from benchmarks.starter_cv import family_aucs, found_at, picture_weights
from benchmarks.starter_deliveries import protocol_steps
from benchmarks.starter_store import Pictures
from cinemae.calibration.report import CalibrationReport
from cinemae.core.calibration import calibrate
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import auc, figure, rate
from cinemae.statistics.resampling import calibration_error_of

FEWEST: Final = 20
"""Pictures that a generator, a source or a maker of cameras must have for a row of its own."""
PREVALENCES: Final = (0.01, 0.1, 0.5)

FFHQ: Final = ("AIDI_testing_ffhq", "realorfake", "smoothyy3+flux2-spectral-analysis_FFHQ")
"""Groups of portraits of FFHQ, all in one fold: copies of one collection, which thresholds take for one source."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """Pictures, their cross-fitted logits and what each is called by thresholds of the other folds."""

    pictures: Pictures
    logits: NDArray[np.float64]
    calibration: CalibrationReport

    def fake_row(self, name: str, chosen: Flags) -> dict[str, Any]:
        """Return how generated images are judged, against the photographs of their folds."""
        photographs = ~self.pictures.fake & np.isin(self.pictures.fold, self.pictures.fold[chosen])
        return {
            "name": name,
            "n": int(chosen.sum()),
            "auc": auc(self.logits[photographs], self.logits[chosen]).to_dict(),
            **self._called(chosen),
        }

    def portrait_row(self, name: str, chosen: Flags) -> dict[str, Any]:
        """Return how generated images are told from portraits of FFHQ, and from the other photographs of their fold."""
        pictures = self.pictures
        photographs = ~pictures.fake & np.isin(pictures.fold, pictures.fold[chosen])
        ffhq = photographs & np.isin(pictures.group, FFHQ)
        against = {"auc_ffhq": ffhq, "auc_others": photographs & ~ffhq}
        aucs = {key: auc(self.logits[of], self.logits[chosen]).to_dict() for key, of in against.items()}
        return {"name": name, "n": int(chosen.sum()), "ffhq": int(ffhq.sum()), **aucs}

    def photograph_row(self, name: str, chosen: Flags) -> dict[str, Any]:
        """Return how photographs are judged."""
        return {"name": name, "n": int(chosen.sum()), **self._called(chosen)}

    def _called(self, chosen: Flags) -> dict[str, Any]:
        crossed = self.calibration.crossed
        return {
            "ai": _share(crossed.called_ai[chosen]).to_dict(),
            "photograph": _share(crossed.called_real[chosen]).to_dict(),
        }


def photograph_sources(pictures: Pictures) -> NDArray[np.str_]:
    """Return the group of each picture, those of FFHQ as one."""
    return np.where(np.isin(pictures.group, FFHQ), "FFHQ", pictures.group)


def make_record(judged: Judged, list_csv: Path, model: str) -> dict[str, Any]:
    """Return all figures as plain JSON types.

    Args:
        judged: The cross-fitted scores.
        list_csv: The list, for makers of cameras, sizes and formats.
        model: What the model is called.
    """
    pictures, crossed = judged.pictures, judged.calibration.crossed
    fake, real = pictures.fake, ~pictures.fake
    families = family_aucs(pictures, judged.logits)
    rows = _rows_of(list_csv, pictures)
    makes = np.array([row["make"].strip().title().partition(" ")[0] for row in rows])
    scaled, saved = (np.array(flags) for flags in zip(*map(protocol_steps, pictures.sha256.tolist()), strict=True))
    ai, photograph = crossed.called_ai, crossed.called_real
    sources = photograph_sources(pictures)
    deliveries = {
        "neither scaled nor saved again": ~scaled & ~saved,
        "scaled": scaled & ~saved,
        "saved again as JPEG": ~scaled & saved,
        "scaled, then saved as JPEG": scaled & saved,
    }
    return {
        "model": model,
        "photographs": int(real.sum()),
        "generated": int(fake.sum()),
        "mean_family_auc": float(np.mean(list(families.values()))),
        "found_at_3_percent": found_at(pictures, judged.logits),
        "verdicts": {
            "photographs called ai": _share(ai[real]).to_dict(),
            "photographs called ai, sources counting alike": float(
                np.mean([ai[real & (sources == name)].mean() for name in np.unique(sources[real])])
            ),
            "photographs called photograph": _share(photograph[real]).to_dict(),
            "generated called ai": _share(ai[fake]).to_dict(),
            "generated called photograph": _share(photograph[fake]).to_dict(),
            "uncertain, both classes weighing half": float(
                ((~ai & ~photograph)[real].mean() + (~ai & ~photograph)[fake].mean()) / 2
            ),
        },
        "right_of_ai_verdicts": {str(share): _precision(ai, fake, share) for share in PREVALENCES},
        "calibration_error": figure(calibration_error_of, crossed.prob_fake[real], crossed.prob_fake[fake]).to_dict(),
        "families": _worst_first(judged.fake_row(name, fake & (pictures.family == name)) for name in families),
        "ffhq": _beside_ffhq(judged),
        "generators": _worst_first(judged.fake_row(name, chosen) for name, chosen in _groups(pictures.group, fake)),
        "sources": _most_accused_first(
            judged.photograph_row(name, chosen) for name, chosen in _groups(pictures.group, real)
        ),
        "makers": _most_accused_first(
            judged.photograph_row(name, chosen) for name, chosen in _groups(makes, real & (makes != ""))
        ),
        "deliveries": [
            {**judged.fake_row(name, fake & chosen), "accused": _share(ai[real & chosen]).to_dict()}
            for name, chosen in deliveries.items()
        ],
        "format_probe": _format_probe(rows, pictures),
    }


def _beside_ffhq(judged: Judged) -> list[dict[str, Any]]:
    """Return a row for each kind of image whose fold holds FFHQ; CycleGAN's repaint photographs."""
    pictures = judged.pictures
    folds = np.unique(pictures.fold[np.isin(pictures.group, FFHQ)])
    families = np.where(pictures.fake & np.isin(pictures.fold, folds), pictures.family, "")
    kinds = np.where(np.char.startswith(pictures.group, "cyclegan") & (families != ""), "cyclegan", families)
    return [judged.portrait_row(name, kinds == name) for name in np.unique(kinds[kinds != ""]).tolist()]


def record_beside(pictures: Pictures, logits: NDArray[np.float64], calibration: CalibrationReport) -> dict[str, Any]:
    """Return how poor copies or portraits are judged, by curve and thresholds that pictures of the other folds gave.

    Args:
        pictures: The portraits, or the pictures that the copies are of.
        logits: Of each, from the head that has not seen its fold.
        calibration: On the pictures of the list.
    """
    folds = np.unique(calibration.fold)
    ai, photograph = np.zeros(len(logits), bool), np.zeros(len(logits), bool)
    for number, decision in zip(folds.tolist(), calibration.crossed.decisions, strict=True):
        here = pictures.fold == number
        prob = calibrate(logits[here], decision)
        ai[here], photograph[here] = prob >= decision.threshold, prob < decision.real_below
    fake = pictures.fake
    return {
        "photographs": int((~fake).sum()),
        "generated": int(fake.sum()),
        "mean_family_auc": float(np.mean(list(family_aucs(pictures, logits).values()))),
        "found_at_3_percent": found_at(pictures, logits),
        "photographs called ai": _share(ai[~fake]).to_dict(),
        "photographs called photograph": _share(photograph[~fake]).to_dict(),
        "generated called ai": _share(ai[fake]).to_dict(),
        "generated called photograph": _share(photograph[fake]).to_dict(),
    }


def _rows_of(list_csv: Path, pictures: Pictures) -> list[dict[str, str]]:
    with list_csv.open(newline="", encoding="utf-8") as file:
        rows = {row["sha256"]: row for row in csv.DictReader(file)}
    return [rows[sha256] for sha256 in pictures.sha256.tolist()]


def _groups(names: NDArray[np.str_], among: Flags) -> Iterable[tuple[str, Flags]]:
    found, counts = np.unique(names[among], return_counts=True)
    return ((name, among & (names == name)) for name in found[counts >= FEWEST].tolist())


def _worst_first(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: float(row["auc"]["value"]))


def _most_accused_first(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -float(row["ai"]["value"]))


def _share(hits: Flags) -> Estimate:
    return rate(int(hits.sum()), len(hits))


def _precision(ai: Flags, fake: Flags, share: float) -> float:
    """Return the share of "ai" verdicts that is right where a share of all images is generated."""
    found, accused = float(ai[fake].mean()) * share, float(ai[~fake].mean()) * (1 - share)
    return found / (found + accused)


def _format_probe(rows: list[dict[str, str]], pictures: Pictures) -> dict[str, float]:
    """Return what container, width and height of the originals alone reach by the same protocol."""
    formats = sorted({row["format"] for row in rows})
    columns = np.array([(int(row["width"]), int(row["height"]), formats.index(row["format"])) for row in rows])
    scores = np.zeros(len(rows))
    for number in np.unique(pictures.fold):
        here = pictures.fold == number
        forest = RandomForestClassifier(300, min_samples_leaf=5, random_state=0)
        weights = picture_weights(pictures, ~here, 0)[~here]
        forest.fit(columns[~here], pictures.fake[~here], sample_weight=weights)
        scores[here] = forest.predict_proba(columns[here])[:, 1]
    return {
        "mean_family_auc": float(np.mean(list(family_aucs(pictures, scores).values()))),
        "found_at_3_percent": found_at(pictures, scores),
    }
