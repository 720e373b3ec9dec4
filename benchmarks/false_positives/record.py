"""What a model says of the set: one record a release, all of them in ``benchmarks/results/false_positives.json``.

The scores come from `cinemae.evaluation.evaluate`, the verdicts from `cinemae.Detector`, which users meet; both must
give the same probabilities.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from benchmarks.measure import RESULTS, describe_machine, require_close
from cinemae.detect.detector import Detector
from cinemae.evaluation.detectors import Setup
from cinemae.evaluation.evaluate import Plan, evaluate
from cinemae.sources.whole_files import replacing

RECORDS = RESULTS / "false_positives.json"
_PACKAGES = ("numpy", "pillow", "scipy", "scikit-image", "matplotlib", "onnxruntime")
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Judged:
    """What was said of one picture.

    Attributes:
        prob_fake: Probability of having been generated; every picture of the set is none.
        verdict: "ai", "uncertain" or "real".
        warnings: What the verdict warns of.
        sha256: Of the file, its first digits: tells whether two records looked at the same bytes.
    """

    prob_fake: float
    verdict: str
    warnings: tuple[str, ...]
    sha256: str


@dataclass(frozen=True)
class Record:
    """What one model says of the whole set.

    Attributes:
        when: Date and time, UTC.
        cinemae: Version of the package.
        commit: Of the repository, with a + if the code differs from it; None outside one.
        model: Name and settings of the model.
        threshold: "ai" begins here.
        real_below: "real" ends here.
        rule: Where the two come from.
        versions: Of the packages that make and score the pictures.
        pictures: By `Picture.key`.
    """

    when: str
    cinemae: str
    commit: str | None
    model: str
    threshold: float
    real_below: float
    rule: str
    versions: Mapping[str, str]
    pictures: Mapping[str, Judged]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from what `dataclasses.asdict` gives, as JSON keeps it."""
        pictures = {
            key: Judged(**{**one, "warnings": tuple(one["warnings"])}) for key, one in values["pictures"].items()
        }
        return cls(**{**values, "pictures": pictures})


def measure(folder: Path, model: str | None, out: Path) -> Record:
    """Score made pictures.

    Args:
        folder: Where the pictures were made.
        model: Model directory or Hub id; None for the bundled one.
        out: Where the report of `cinemae evaluate` goes.

    Raises:
        WrongAnswerError: If evaluation and detector disagree.
        CinemaeError: If the model or a picture cannot be used.
    """
    folder = folder.resolve()
    plan = Plan(str(folder), setup=Setup(model, mask_seeds=1), examples=0)
    predictions, _ = evaluate(plan, out)
    paths = predictions.images.path.tolist()
    scores = predictions.of(predictions.columns[0])
    detector = Detector.from_pretrained(model)
    pictures = {}
    for path, score, found in zip(paths, scores, detector.detect_batch(paths, on_error="raise"), strict=True):
        key = Path(path).relative_to(folder / "real").as_posix()
        require_close(f"prob_fake of {key}, evaluate and detect", found.prob_fake, score, 1e-5)
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:_HASH_DIGITS]
        pictures[key] = Judged(round(float(score), 6), found.verdict, found.warnings, digest)
    decision = detector.decision
    return Record(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        cinemae=version("cinemae"),
        commit=describe_machine()["commit"],
        model=detector.model_id,
        threshold=decision.threshold,
        real_below=decision.real_below,
        rule=decision.rule,
        versions={name: version(name) for name in _PACKAGES},
        pictures=dict(sorted(pictures.items())),
    )


def with_record(records: Sequence[Record], new: Record) -> list[Record]:
    """Return records with a new one at the end: a version has one, so an earlier one of the same version goes."""
    return [*(one for one in records if one.cinemae != new.cinemae), new]


def read_records(path: Path = RECORDS) -> list[Record]:
    """Return all records of a file, the newest last; none if there is no file."""
    if not path.exists():
        return []
    return [Record.from_dict(values) for values in json.loads(path.read_text(encoding="utf-8"))]


def save_records(records: Sequence[Record], path: Path = RECORDS) -> None:
    """Write records, a picture a line, so that a change of one shows as one line."""
    blocks = []
    for record in records:
        values = asdict(record)
        lines = [f"   {json.dumps(key)}: {json.dumps(one)}" for key, one in values.pop("pictures").items()]
        head = json.dumps(values, indent=1, ensure_ascii=False)[:-2]
        blocks.append(head + ',\n "pictures": {\n' + ",\n".join(lines) + "\n }\n}")
    with replacing(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(blocks) + "\n]\n", encoding="utf-8")
