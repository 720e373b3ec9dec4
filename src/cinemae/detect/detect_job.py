"""``cinemae detect --results`` as a bulk job: parts of a results folder, read back as verdicts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cinemae.config import DecisionConfig
from cinemae.core.preprocess import Examined
from cinemae.detect.detector import DEFAULT_BATCH_SIZE, Detector
from cinemae.detect.verdict import ScoredVerdict, Verdict
from cinemae.detect.verdict_cache import VerdictCache
from cinemae.evidence.signals import ProvenanceSignal
from cinemae.models.checked_scores import read_checked_scores
from cinemae.models.directory import resolve_model
from cinemae.models.scorers import make_scorer
from cinemae.sources.records import ImageRecord, hash_records
from cinemae.sources.remote_object import is_remote
from cinemae.sources.sources import encoded_images
from cinemae.sources.stream import NUM_WORKERS
from cinemae.stores.bulk import ScoreFunction
from cinemae.stores.grown_results import continue_results
from cinemae.stores.parts import PartsFolder
from cinemae.stores.results import ResultsHeader, read_results, results_folder, write_results
from cinemae.verdict_row import VerdictRow

DEFAULT_PART_SIZE = 256


@dataclass(frozen=True)
class DetectorSource:
    """Where a detector comes from: enough to build it again in another process.

    Attributes:
        model: A model directory or Hub id; None for the bundled starter.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto", "fp32", "bf16" or "int8".
        threshold: prob_fake from which an image is called "ai", in place of the model's own.
        cache: A file that keeps scores by content, shared with whoever uses it on the same machine; None for one that
            ends with each process.
    """

    model: str | None = None
    device: str = "auto"
    precision: str = "auto"
    threshold: float | None = None
    cache: str | None = None

    def load(self, num_threads: int | None = None) -> Detector:
        """Load the model, to compute with so many threads; None for one a core.

        Raises:
            ModelDirError: If there is no such model, or it cannot be used.
            ConfigError: If the threshold lies outside [0, 1] or there is no such device.
        """
        directory = resolve_model(self.model)
        scorer = make_scorer(directory, self.device, precision=self.precision, num_threads=num_threads)
        cache = VerdictCache.open(self.cache, directory, scorer)
        checked = read_checked_scores(directory)
        return Detector(scorer, threshold=self.threshold, cache=cache, checked=checked)


@dataclass(frozen=True)
class DetectJob:
    """Verdicts on images into a results folder.

    Attributes:
        source: The detector.
        out: The results folder; every worker must see it.
        header: What the folder holds.
        decision: The thresholds behind the verdicts.
        batch_size: Images handed to the model together.
    """

    source: DetectorSource
    out: str
    header: ResultsHeader
    decision: DecisionConfig
    batch_size: int = DEFAULT_BATCH_SIZE

    @property
    def parts(self) -> PartsFolder:
        """The results folder."""
        return results_folder(self.out, self.header)

    def load(self, num_threads: int) -> ScoreFunction:
        """Load the detector, and return records → verdicts."""
        detector = self.source.load(max(1, num_threads // NUM_WORKERS))  # which go side by side

        def score(records: Sequence[ImageRecord]) -> Generator[list[Verdict], None, None]:
            images = encoded_images(records)
            verdicts = detector.detect_batch(images, batch_size=self.batch_size, stable=self.header.stable)
            while batch := list(islice(verdicts, self.batch_size)):
                yield batch

        return score

    def failed_row(self, record: ImageRecord, reason: str) -> Verdict:
        """Return the verdict on an image that cannot be scored."""
        return Verdict(record.path, "error", error_message=reason)

    def write(self, part: int, rows: Sequence[Verdict]) -> None:
        """Write a part."""
        write_results(self.parts, part, [row.to_dict() for row in rows])

    def verdicts(self) -> Iterator[Verdict]:
        """Yield the verdicts of a finished job in the order of the list, a part at a time in memory."""
        for part in self.header.part_numbers:
            yield from map(_to_verdict, read_results(self.parts, part))


def detect_job(
    source: DetectorSource,
    out: str | os.PathLike[str],
    records: Sequence[ImageRecord],
    *,
    stable: bool = False,
    batch_size: int | None = None,
    part_size: int = DEFAULT_PART_SIZE,
) -> DetectJob:
    """Describe the job of judging `records`. Loads the model once, so that one that cannot be used is refused here.

    Args:
        source: The detector.
        out: The results folder, here or behind a URI.
        records: The images.
        stable: Score re-deliveries too.
        batch_size: Images handed to the model together.
        part_size: Images a part: what a kill can cost, and what is held in memory.

    Raises:
        StoreError: If there is no image, or `part_size` is below 1.
        ModelDirError: If the model cannot be used.
    """
    detector = source.load(num_threads=1)
    header = ResultsHeader(
        model=detector.model_id,
        fingerprint=detector.config.fingerprint,
        threshold=detector.decision.threshold,
        real_below=detector.decision.real_below,
        stable=stable,
        num_rows=len(records),
        part_size=part_size,
        records_hash=hash_records(records),
    )
    where = os.fspath(out)
    if not is_remote(where):
        where = os.path.abspath(out)  # noqa: PTH100 - links unresolved: so it is found on other machines
    return DetectJob(source, where, header, detector.decision, batch_size or DEFAULT_BATCH_SIZE)


def continue_job(job: DetectJob, records: Sequence[ImageRecord]) -> tuple[DetectJob, list[ImageRecord]]:
    """Fit a job to what is in its folder: parts of a list that has grown since are kept.

    Returns:
        The job that goes on, and its images in the order of the folder's rows.

    Raises:
        StoreError: If the folder cannot be gone on with; what differs is named.
    """
    header, ordered = continue_results(job.out, job.header, records)
    return dataclasses.replace(job, header=header), ordered


def _to_verdict(row: VerdictRow) -> Verdict:
    plain: Mapping[str, Any] = row  # what older parts hold is narrower
    signals = tuple(ProvenanceSignal(**signal) for signal in plain["provenance"] or ())
    texts = {name: tuple(plain.get(name) or ()) for name in ("reasons", "reason_kinds", "warnings")}
    seen = plain.get("examined")
    kind = ScoredVerdict if plain["status"] == "ok" else Verdict
    later = {"examined": Examined(**seen) if seen else None, "schema_version": plain.get("schema_version") or 1}
    return kind(**{**plain, **texts, "provenance": signals, **later})
