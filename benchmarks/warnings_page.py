"""Write docs/warnings.md from benchmarks/results/image_warnings.json and the texts below."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any

from benchmarks.image_warnings import PIXEL_WARNINGS, RESULT
from benchmarks.measure import LIKE_BUNDLED, ROOT
from cinemae.evidence.image_warnings import WARNINGS, WarningLimits

PAGE = ROOT / "docs" / "warnings.md"

ADVICE = {
    "low_texture": (
        "Look for a version with more in it: the uncropped picture, or a part that is not background. The paper "
        "names such photographs as its false positives (Sec. 5.4, Fig. 9)."
    ),
    "high_texture": (
        "Take a verdict of real with care: noise, grass or gravel all over the picture is hard to predict, as "
        "photographs are in the paper. The paper says that absurd, chaotic fakes are missed (Sec. 5.4); what is absurd "
        "cannot be told from pixel counts, so only chaos of texture is caught here."
    ),
    "grayscale": (
        "Look for the coloured original. The paper loses accuracy without colour (96.63 to 92.85 %, Sec. 5.2)."
    ),
    "small": (
        "Look for the original size: search engines and social networks hand out thumbnails. The paper loses "
        "accuracy below a scale of 0.6 (Sec. 5.2, Fig. 6)."
    ),
    "upscaled": (
        "Look for the picture before it was enlarged. Photographs that are out of focus, or denoised, carry it as "
        "well. A picture that was enlarged and is still shown to the model smaller than its first version loses "
        "nothing, and is not warned of. Enlarging that invents detail, as neural networks do, is not seen."
    ),
    "heavy_compression": (
        "Look for an earlier copy. A file says its own quality; of earlier savings, at about 65 and below, the "
        "pixels tell as long as the picture was not scaled since. A drawing saved at 75 may be taken for one."
    ),
    "screenshot_or_text": (
        "Judge the picture that the screenshot shows, cut out without frame, or better the file it came from. "
        "Drawings, posters and logos carry it as well; screenshots of nothing but a photograph, cut exactly, and "
        "photographs of printed pages do not. Training held few such pictures."
    ),
    "extreme_aspect": "Cut out the parts of interest, about square, and judge each of them.",
    "animated_first_frame": "Take out the frames that matter and judge each of them.",
    "animated_other_frame": "Judge the other frames as well.",
    "exif_unreadable": "Turn the picture upright by hand if it lies on its side, and judge it again.",
    "out_of_distribution": (
        "Treat the verdict as a guess: calibrate the model on pictures of this kind (`cinemae calibrate`), or fit "
        "one (`cinemae fit`)."
    ),
}
LIMITS = {
    "low_texture": ("flat_share",),
    "high_texture": ("detail_floor",),
    "grayscale": ("colour_spread",),
    "small": ("enlargement",),
    "upscaled": ("fine_detail",),
    "heavy_compression": ("jpeg_quality", "grid_ratio"),
    "screenshot_or_text": ("hard_edges", "frame"),
    "extreme_aspect": ("in_square",),
}
UNMEASURED = {
    "animated_first_frame": (
        "It comes from the file, not from pixels. Not measured: no labelled animations were at hand."
    ),
    "animated_other_frame": "It comes from how the picture was given, not from pixels. Not measured.",
    "exif_unreadable": "It comes from the file, not from pixels. Not measured.",
    "out_of_distribution": (
        "It comes from the model's features, not from the picture alone: `cinemae calibrate` sets its limit."
    ),
}
PAPER = (
    ("uniform backgrounds (Sec. 5.4)", ("plain",)),
    ("chaotic fakes (Sec. 5.4), as noise", ("noise=10", "noise=20")),
    ("grayscale (Sec. 5.2)", ("grayscale", "toned")),
    ("scale of 0.6 and below (Sec. 5.2)", ("resize=0.6", "resize=0.5", "resize=0.25")),
    ("the same, enlarged back", ("enlarged=0.6", "enlarged=0.4", "enlarged=0.2")),
)
HEAD = f"""# Warnings

{LIKE_BUNDLED}Written by `python -m benchmarks.warnings_page` from `benchmarks/results/image_warnings.json`; do not
edit. [The command](../benchmarks/README.md) that measured it needs labelled pictures, which are not shipped.

A verdict carries the names of what makes it less sure. A warning says what kind of picture it is; it changes neither
probability nor verdict, and is no evidence for either class, even where one of them carries it more often. It is told
from the picture alone, in {{cost:.0f}} ms of processor time for a decoded photograph of 12 megapixels (bringing that to
the model's size takes {{preprocess:.0f}} ms). In Python:

```python
from cinemae.pictures.image import load_image
from cinemae.evidence.image_warnings import explain, image_warnings

names = image_warnings(load_image("photo.jpg"))
print(*explain(names), sep="\\n")
```

How to read the figures: they are that model's, on {{photographs}} photographs and {{fakes}} fakes of sources and
generators that it has not seen. The set is small: intervals are wide. Neither limits nor thresholds were chosen on it.
`called "ai"` is the share of photographs called so, `called "real"` the share of fakes; the rest are right or
uncertain. In brackets: 95 % intervals."""


def render(result: dict[str, Any]) -> str:
    """Return the page."""
    files = result["files"]["all"]
    head = HEAD.format(
        cost=result["cost_ms"]["image_warnings"],
        preprocess=result["cost_ms"]["preprocess"],
        photographs=files["photographs"],
        fakes=files["fakes"],
    )
    parts = [head, *_overview(result), *_caught(result)]
    for name, sentence in WARNINGS.items():
        parts += [f"## `{name}`", sentence, f"What to do: {ADVICE[name]}"]
        parts += _measured(name, result) if name in PIXEL_WARNINGS else [UNMEASURED[name]]
    return "\n\n".join([*parts, _conditions(result)]) + "\n"


def _overview(result: dict[str, Any]) -> list[str]:
    files = result["files"]
    rows = ["| warning | photographs with it | fakes with it | what it does to errors |", "|---|---:|---:|---|"]
    for name in PIXEL_WARNINGS:
        row = files["warnings"][name]["with"]
        link = f"[`{name}`](#{name})"
        rows.append(f"| {link} | {row['photographs']} | {row['fakes']} | {_summary(name, result)} |")
    row = files["any"]["with"]
    rows.append(f"| at least one | {row['photographs']} | {row['fakes']} | {_of_files(files['any'])} |")
    carry = files["carrying"]
    shares = [
        f"| {words} | {values['any']['n'] if values['any'] else 0} | {_percent(values['any'])} |"
        for words, values in carry.items()
    ]
    return [
        "## What they do, in short",
        "The files as they are, and the altered pictures of the sections below.",
        "\n".join(rows),
        "Do wrong verdicts carry a warning more often than right ones?",
        "\n".join(["| verdict | pictures | carry at least one |", "|---|---:|---:|", *shares]),
        _of_wrong(carry["wrong verdicts"]["any"], carry["other verdicts"]["any"]),
    ]


FEWEST_WRONG = 20
"""Wrong verdicts of which a share says anything."""


def _of_wrong(wrong: dict[str, Any], other: dict[str, Any]) -> str:
    if wrong["n"] < FEWEST_WRONG:
        return "Too few verdicts are wrong here to say."
    if wrong["low"] > other["high"]:
        return "They do."
    return (
        "They do not: on these pictures a warning names a kind of picture and does not point at errors. What tells "
        "more is what happens to the same pictures when they become of that kind, below."
    )


def _summary(name: str, result: dict[str, Any]) -> str:
    worse, better, same = [], [], []
    for one in _expecting(name, result):
        difference = one["auc_difference"]
        kind = worse if difference["high"] < 0 else better if difference["low"] > 0 else same
        kind.append(f"{one['name']} ({difference['value']:+.3f})")
    parts = [_of_files(result["files"]["warnings"][name])]
    parts += [f"AUC falls under {', '.join(worse)}"] if worse else []
    parts += [f"AUC rises under {', '.join(better)}"] if better else []
    parts += [f"no change of AUC that could be told under {', '.join(same)}"] if same else []
    return "; ".join(parts)


def _of_files(row: dict[str, Any]) -> str:
    """Say in words which error differs between the files with a warning and those without."""
    found = []
    for key, words in (
        ("called_ai_difference", 'photographs called "ai"'),
        ("called_real_difference", 'fakes called "real"'),
    ):
        difference = row[key]
        if difference is not None and difference["low"] > 0:
            found.append(f"more {words}")
        elif difference is not None and difference["high"] < 0:
            found.append(f"fewer {words}")
    if found:
        return "files as they are: " + " and ".join(found)
    none = row["with"]["photographs"] + row["with"]["fakes"] == 0
    return "no file as it is carries it" if none else "files as they are: no difference that could be told"


def _caught(result: dict[str, Any]) -> list[str]:
    by_name = {one["name"]: one for one in result["conditions"]}
    rows = [
        "| the paper's failure | imitated by | warning | carry it | carry at least one | before it was altered |",
        "|---|---|---|---:|---:|---:|",
    ]
    for failure, names in PAPER:
        for name in names:
            one = by_name[name]
            shares = (one["warned"][one["expects"]], one["warned"]["any"], one["warned_before"]["any"])
            figures = " | ".join(map(_percent, shares))
            rows.append(f"| {failure} | {one['what']} | `{one['expects']}` | {figures} |")
    return [
        "## Are the paper's known failures caught?",
        "\n".join(rows),
        _of_missed(result["files"]["carrying"]["fakes called real"]),
    ]


def _of_missed(missed: dict[str, Any]) -> str:
    number = missed["any"]["n"] if missed["any"] else 0
    text = "The paper's own pictures were not at hand, so code makes the likes of them. "
    if number < FEWEST_WRONG:
        return (
            f"{text}Its chaotic fakes would be looked for among the fakes that this model misses; it misses {number}."
        )
    return (
        f"{text}The fakes that this model misses are the nearest thing to its chaotic ones: of {number} called "
        f'"real", {_percent(missed["any"])} carry a warning, {_percent(missed["high_texture"])} `high_texture`. The '
        "others are what this page cannot help with."
    )


def _measured(name: str, result: dict[str, Any]) -> list[str]:
    parts = ["Begins: " + "; ".join(_limit(field, result) for field in LIMITS[name]) + "."]
    row = result["files"]["warnings"][name]
    table = [
        '| files as they are | photographs | called "ai" | fakes | called "real" | AUC |',
        "|---|---:|---:|---:|---:|---:|",
    ]
    for words in ("with", "without"):
        one = row[words]
        table.append(
            f"| {words} | {one['photographs']} | {_percent(one['called_ai'])} | {one['fakes']} "
            f"| {_percent(one['called_real'])} | {_figure(one['auc'])} |"
        )
    differences = [_points(row[key]) for key in ("called_ai_difference", "called_real_difference")]
    table.append(f"| difference | | {differences[0]} | | {differences[1]} | |")
    parts.append("\n".join(table))
    if altered := _expecting(name, result):
        parts.append(_table(altered, name))
    return parts


def _table(altered: list[dict[str, Any]], name: str | None) -> str:
    carry = "carry it" if name else "carry at least one"
    rows = [
        f'| altered | pictures | {carry} | called "ai" | called "real" | AUC | change of AUC |',
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in altered:
        before, after = one["before"], one["after"]
        pairs = [f"{_short(before[key])} → {_short(after[key])}" for key in ("called_ai", "called_real")]
        aucs = f"{before['auc']['value']:.3f} → {after['auc']['value']:.3f}"
        n = after["photographs"] + after["fakes"]
        rows.append(
            f"| {one['what']} | {n} | {_percent(one['warned'][name or 'any'])} | {pairs[0]} | {pairs[1]} | {aucs} "
            f"| {_figure(one['auc_difference'], sign='+')} |"
        )
    return "\n".join(rows)


def _limit(field: str, result: dict[str, Any]) -> str:
    limit = getattr(WarningLimits(), field)
    words = {
        "enlargement": f"where the model's view is more than {limit:g} times the shorter side (`enlargement`)",
        "jpeg_quality": f"at a JPEG quality of {limit} and below by the file's tables (`jpeg_quality`)",
        "in_square": f"where less than {100 * limit:g} % of the picture lies in its centre square (`in_square`)",
    }
    if field in words:
        return words[field]
    measure = result["limits"][field]
    below = field in ("colour_spread", "fine_detail", "grid_ratio")
    kept = {name: f"{value:.3g}" for name, value in measure["percentiles"].items()}
    tail = f"percentiles 1, 2, 50 are {kept['1']}, {kept['2']}, {kept['50']}"
    if not below:
        tail = f"percentiles 50, 98, 99 are {kept['50']}, {kept['98']}, {kept['99']}"
    beyond = measure["beyond"]
    return (
        f"at {limit:g} and {'below' if below else 'above'} (`{field}`; of {beyond['n']} training photographs "
        f"{100 * beyond['value']:.1f} % lie there, {tail})"
    )


def _conditions(result: dict[str, Any]) -> str:
    settings, machine = result["settings"], result["machine"]
    rest = [one for one in result["conditions"] if one["expects"] is None]
    versions = ", ".join(f"{name} {text}" for name, text in machine["versions"].items() if text)
    part = f"one picture in {settings['every']}, spread over sources and generators"
    scored = f"Altered pictures are {part}"
    if settings["stored_scores"]:
        scored = f"Under the conditions that `cinemae evaluate` knows all pictures were scored, under the others {part}"
    return "\n\n".join(
        [
            "## Other conditions",
            _table(rest, None),
            "## How it was measured",
            f"{scored}; before and after are the same pictures. Intervals of shares are Wilson's, of their differences "
            "Newcombe's, of AUCs and their differences from 1,000 resamples of the pictures. What a measure is: "
            "`ImageMeasures` in `src/cinemae/evidence/image_measures.py`; limits: `WarningLimits` in "
            "`src/cinemae/evidence/image_warnings.py`.",
            f'Model {settings["model"]}, "ai" from {settings["threshold"]:.3f}, "real" below '
            f"{settings['real_below']:.3f}. Measured {result['when'][:10]} at commit {machine['commit']} on "
            f"{machine['cores']} cores of {machine['cpu']}, load before {result['load_before']}; Python "
            f"{machine['python']}, {versions}.",
        ]
    )


def _expecting(name: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in result["conditions"] if one["expects"] == name]


def _percent(share: dict[str, Any] | None) -> str:
    if share is None:
        return "-"
    return f"{100 * share['value']:.1f} % [{100 * share['low']:.1f}, {100 * share['high']:.1f}]"


def _short(share: dict[str, Any] | None) -> str:
    return "-" if share is None else f"{100 * share['value']:.1f} %"


def _points(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return "-"
    return f"{100 * difference['value']:+.1f} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"


def _figure(estimate: dict[str, Any] | None, sign: str = "") -> str:
    if estimate is None:
        return "too few"
    return f"{estimate['value']:{sign}.3f} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


def main() -> None:
    """Write the page, or with --check only compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if the page is not current")
    check = parser.parse_args().check
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    limits = {name: row["limit"] for name, row in result["limits"].items()}
    if any(dataclasses.asdict(WarningLimits())[name] != limit for name, limit in limits.items()):
        sys.exit("the limits have changed since the record: run python -m benchmarks.image_warnings DATA --save")
    page = render(result)
    if not check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{PAGE.relative_to(ROOT)} is not what the record gives: run python -m benchmarks.warnings_page")


if __name__ == "__main__":
    main()
