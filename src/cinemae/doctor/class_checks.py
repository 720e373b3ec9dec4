"""Checks between the classes: does how the files were saved give away which are fakes?

Each fact's difference is measured on one scale, the largest difference D between the shares of the two classes that any
rule on this fact can reach: total variation for containers, Kolmogorov-Smirnov's D for numbers (there the rule is a
single threshold). The best such rule calls ``(1 + D) / 2`` of the files right, both classes weighing half.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp, mannwhitneyu

from cinemae.doctor.file_rows import FileRow, columns_of, labels_of
from cinemae.doctor.findings import Finding, Severity
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.format_probe import ALARM, format_probe_of

WARN_FROM = 0.2
"""D from which a fact is a warning: one rule on it reaches 60 %, the alarm of the format probe."""

SERIOUS_FROM = 0.5
"""D from which it is serious: one rule reaches 75 %."""

MIN_GENERATOR = 20
"""A generator with fewer images is not looked at by itself."""

_MOST_PROBED = 20_000  # files of a class that the probe looks at; more would not change what it says
_CHANCE = 0.01  # p-value above which a difference is taken for chance
_FEWEST = 5  # files of a class below which every difference is
_EXACT = 50  # files of a class up to which p-values are exact


@dataclass(frozen=True)
class Imbalance:
    """How far the classes lie apart in one fact.

    Attributes:
        fact: "container", "JPEG quality", "width", "height" or "aspect".
        distance: D, from 0 (alike) to 1 (never alike).
        p_value: That classes drawn from one pool differ by as much (chi-squared, or Kolmogorov-Smirnov).
        cramers_v: Of the container; None for numbers.
        auc: Share of pairs in which the fake has the greater value, ties counting half; None for the container.
        num_real: Photographs that have the fact.
        num_fake: Generated images that have it.
        real: What is typical of the photographs, in words.
        fake: What is typical of the generated images.
    """

    fact: str
    distance: float
    p_value: float
    cramers_v: float | None
    auc: float | None
    num_real: int
    num_fake: int
    real: str
    fake: str

    @property
    def accuracy(self) -> float:
        """Balanced accuracy of the best rule on this fact."""
        return (1 + self.distance) / 2

    @property
    def severity(self) -> Severity | None:
        """How bad it is; None if it is within bounds or may be chance."""
        too_few = min(self.num_real, self.num_fake) < _FEWEST
        if too_few or self.p_value >= _CHANCE or self.distance < WARN_FROM:
            return None
        return "serious" if self.distance >= SERIOUS_FROM else "warning"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "accuracy": self.accuracy}


@dataclass(frozen=True)
class ImageGroup:
    """The readable images of one generator, or of one source of photographs.

    Attributes:
        label: 0 real, 1 fake.
        name: Of generator or source; "" unknown.
        num_files: How many.
        containers: In words: "JPEG 90 %, PNG 10 %".
        width: Median, with the smallest and greatest.
        height: The same.
        jpeg_quality: The same; "-" without JPEGs.
    """

    label: int
    name: str
    num_files: int
    containers: str
    width: str
    height: str
    jpeg_quality: str


@dataclass(frozen=True)
class ClassChecks:
    """What the files alone say of the classes.

    Attributes:
        imbalances: One for each fact; empty where a class is missing.
        sources: Photographs first, then by name.
        probes: Balanced accuracy of the format probe, by split and for "all".
        findings: What of this is amiss.
    """

    imbalances: tuple[Imbalance, ...]
    sources: tuple[ImageGroup, ...]
    probes: dict[str, Estimate]
    findings: tuple[Finding, ...]


def check_classes(rows: Sequence[FileRow], *, seed: int = 0) -> ClassChecks:
    """Compare how the files of both classes were saved.

    Args:
        rows: Of the data set.
        seed: Of the format probe.
    """
    usable = [row for row in rows if row.status == "ok" and row.label is not None]
    imbalances = find_imbalances(usable)
    probes = _probes(usable, seed)
    loud = {each.fact for each in imbalances if each.severity == "serious"}
    findings = _probe_findings(probes)
    findings += _imbalance_findings(imbalances)
    findings += _generator_findings(usable, loud)
    return ClassChecks(tuple(imbalances), tuple(_sources(usable)), probes, tuple(findings))


def find_imbalances(rows: Sequence[FileRow]) -> list[Imbalance]:
    """Measure the distance of the classes in each fact that both have.

    Args:
        rows: Readable and labelled.
    """
    reals, fakes = ([row for row in rows if row.label == label] for label in (0, 1))
    if not reals or not fakes:
        return []
    found = [_of_container(reals, fakes)]
    for fact, values in _NUMBERS.items():
        real, fake = _finite(values, reals), _finite(values, fakes)
        if len(real) > 1 and len(fake) > 1:
            found.append(_of_numbers(fact, real, fake))
    return found


def per_cent(share: float) -> str:
    """Return a share in whole per cent.

    Example:
        >>> per_cent(0.857)
        '86 %'
    """
    return f"{100 * share:.0f} %"


def _of_container(reals: Sequence[FileRow], fakes: Sequence[FileRow]) -> Imbalance:
    counts = [Counter(row.container for row in part) for part in (reals, fakes)]
    names = sorted(counts[0] | counts[1])
    table = np.array([[count[name] for name in names] for count in counts])
    shares = table / table.sum(axis=1, keepdims=True)
    statistic, p_value = (chi2_contingency(table, correction=False)[:2]) if len(names) > 1 else (0.0, 1.0)
    return Imbalance(
        fact="container",
        distance=float(np.abs(shares[0] - shares[1]).sum() / 2),
        p_value=float(p_value),
        cramers_v=float(np.sqrt(statistic / table.sum())),  # the smaller side of the table has two rows
        auc=None,
        num_real=len(reals),
        num_fake=len(fakes),
        real=_shares(counts[0]),
        fake=_shares(counts[1]),
    )


def _of_numbers(fact: str, real: NDArray[np.float64], fake: NDArray[np.float64]) -> Imbalance:
    test = ks_2samp(real, fake, method="exact" if max(len(real), len(fake)) <= _EXACT else "asymp")
    greater = mannwhitneyu(fake, real, method="asymptotic").statistic / (len(real) * len(fake))
    return Imbalance(
        fact=fact,
        distance=float(test.statistic),
        p_value=float(test.pvalue),
        cramers_v=None,
        auc=float(greater),
        num_real=len(real),
        num_fake=len(fake),
        real=_range(real),
        fake=_range(fake),
    )


_NUMBERS = {
    "JPEG quality": lambda row: np.nan if row.jpeg_quality is None else row.jpeg_quality,
    "width": lambda row: row.width,
    "height": lambda row: row.height,
    "aspect": lambda row: row.width / row.height,
}


def _finite(values: Any, rows: Sequence[FileRow]) -> NDArray[np.float64]:  # noqa: ANN401 - one of _NUMBERS
    found = np.array([values(row) for row in rows], np.float64)
    return found[np.isfinite(found)]


def _imbalance_findings(imbalances: Sequence[Imbalance]) -> list[Finding]:
    loud = sorted((each for each in imbalances if each.severity), key=lambda each: -each.distance)
    if not loud:
        return []
    facts = "; ".join(f"{each.fact} {per_cent(each.accuracy)} ({each.real} against {each.fake})" for each in loud)
    names = " and ".join([", ".join(each.fact for each in loud[:-1]), loud[-1].fact][len(loud) == 1 :])
    return [
        Finding(
            "imbalance",
            loud[0].severity or "note",
            f"The classes differ in {names}",
            "Both classes should be saved alike; here one fact alone tells files apart (chance is 50 %; photographs "
            f"first): {facts}.",
            "Send both classes through one pipeline: cinemae data align IN OUT.",
            figures={each.fact: each.to_dict() for each in loud},
        )
    ]


def _probes(rows: Sequence[FileRow], seed: int) -> dict[str, Estimate]:
    """Ask the probe about all files and, where there are several, about each split."""
    parts = {"all": list(rows)}
    splits = sorted({row.split for row in rows if row.split})
    if len(splits) > 1:
        parts |= {split: [row for row in rows if row.split == split] for split in splits}
    found = {}
    for name, part in parts.items():
        chosen = _at_most(part, seed)
        probe = format_probe_of(columns_of(chosen), labels_of(chosen), seed=seed) if chosen else None
        if probe is not None:
            found[name] = probe
    return found


def _at_most(rows: Sequence[FileRow], seed: int) -> list[FileRow]:
    """Draw files where a class has more than the probe is to look at."""
    rng = np.random.default_rng(seed)
    chosen: list[FileRow] = []
    for label in (0, 1):
        part = [row for row in rows if row.label == label]
        places = range(len(part))
        if len(part) > _MOST_PROBED:
            places = np.sort(rng.choice(len(part), _MOST_PROBED, replace=False)).tolist()
        chosen += [part[place] for place in places]
    return chosen


def _probe_findings(probes: dict[str, Estimate]) -> list[Finding]:
    """Speak of all files, or of the worst split if only splits go past the limit."""
    loud = {name: probe for name, probe in probes.items() if probe.value > ALARM}
    if not loud:
        return []
    name = "all" if "all" in loud else max(loud, key=lambda each: loud[each].value)
    probe, certain = loud[name], any(each.low > 0.5 for each in loud.values())
    where = "" if name == "all" else f" in split {name}"
    chance = "" if certain else " With so few files that may be chance."
    return [
        Finding(
            "format_probe",
            "serious" if certain else "warning",
            "The files give the classes away",
            "A random forest that sees only container, JPEG quality, width and height, no pixel, should not get past "
            f"{per_cent(ALARM)} balanced accuracy; it reaches {probe:.1%} (n = {probe.n:,}){where}.{chance}",
            "Any score on these files may say how they were saved: align them (cinemae data align), and read figures "
            "under raw beside those under aligned.",
            figures={part: each.to_dict() for part, each in probes.items()},
        )
    ]


def _generator_findings(rows: Sequence[FileRow], loud: set[str]) -> list[Finding]:
    """Name generators that a fact gives away although it does not give away the class as a whole."""
    reals = [row for row in rows if row.label == 0]
    own: defaultdict[str, list[FileRow]] = defaultdict(list)
    fakes: defaultdict[str, list[FileRow]] = defaultdict(list)
    for row in rows:
        (fakes if row.label == 1 else own)[row.generator].append(row)
    sentences, figures = [], {}
    for name in sorted(fakes):
        against = own.get(name, reals) if name else reals
        if len(fakes[name]) < MIN_GENERATOR or len(fakes) < 2:
            continue
        found = [each for each in find_imbalances([*against, *fakes[name]]) if each.fact not in loud]
        worst = max(found, key=lambda each: each.distance, default=None)
        if worst is not None and worst.severity == "serious":
            figures[name] = worst.to_dict()
            sentences.append(f"{name or 'not stated'} by {worst.fact} ({per_cent(worst.accuracy)}: {worst.fake})")
    if not sentences:
        return []
    return [
        Finding(
            "generator_imbalance",
            "warning",
            "Generators that their files give away",
            "Each generator's files should be saved as the photographs are; one fact alone tells these apart: "
            f"{'; '.join(sentences)}.",
            "Figures of these generators may say how the files were saved: align the set, or name them beside.",
            figures=figures,
        )
    ]


def _sources(rows: Sequence[FileRow]) -> list[ImageGroup]:
    groups: defaultdict[tuple[int, str], list[FileRow]] = defaultdict(list)
    for row in rows:
        groups[(row.label or 0, row.generator)].append(row)
    return [
        ImageGroup(
            label=label,
            name=name,
            num_files=len(group),
            containers=_shares(Counter(row.container for row in group)),
            width=_range(_finite(_NUMBERS["width"], group)),
            height=_range(_finite(_NUMBERS["height"], group)),
            jpeg_quality=_range(_finite(_NUMBERS["JPEG quality"], group)),
        )
        for (label, name), group in sorted(groups.items())
    ]


def _shares(counts: Counter[str]) -> str:
    parts = []
    for name, number in counts.most_common(3):
        share = number / counts.total()
        parts.append(f"{name} {per_cent(share)}" if share >= 0.01 else f"{name} {number}")
    return ", ".join(parts) + (", others" if len(counts) > 3 else "")


def _range(values: NDArray[np.float64]) -> str:
    """Return the median, with both ends where they differ.

    Example:
        >>> _range(np.array([256.0, 256.0, 512.0])), _range(np.array([1.5])), _range(np.zeros(0))
        ('256 (256-512)', '1.5', '-')
    """
    if not len(values):
        return "-"
    low, middle, high = (f"{value:.2f}".rstrip("0").rstrip(".") for value in np.percentile(values, (0, 50, 100)))
    return middle if low == high else f"{middle} ({low}-{high})"
