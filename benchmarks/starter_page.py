"""What the bundled model reaches, docs/starter.md, from the record of `benchmarks.starter_model`, and its chart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.measure import RESULTS, ROOT
from cinemae.statistics.estimate import Estimate

RECORD: Final = RESULTS / "starter_model.json"
FORMER: Final = RESULTS / "starter_shipped.json"
CHART: Final = RESULTS / "starter_families.png"
PAGE: Final = ROOT / "docs" / "starter.md"
FAMILIES: Final = {
    "dalle2": "DALL-E 2",
    "dalle3": "DALL-E 3",
    "dmini": "DALL-E mini",
    "flux": "FLUX",
    "gan": "GANs",
    "gemini": "Gemini (Nano Banana, Imagen)",
    "gptimg": "GPT image",
    "ldm": "latent diffusion of 2021",
    "misc": "others",
    "mj": "Midjourney",
    "sd1": "Stable Diffusion 1",
    "sd3": "Stable Diffusion 3",
    "sdxl": "Stable Diffusion XL",
}
HEAD: Final = """# What the bundled model reaches

Written by `python -m benchmarks.render` from `benchmarks/results/starter_model.json`; do not edit.

**No picture here was seen in training, nor any of its generator's family or its source.** {generated} generated images
of 13 families and {photographs} photographs, at most 100 of a source, are cut into four folds, generated images by
family, photographs by source. A head learns on three folds and judges the fourth; thresholds and calibration of a fold
come from the other three; towards the threshold each source of photographs counts alike, copies of FFHQ as one, so that
a large one does not set it. Every picture is delivered as the web does: saved as JPEG first if it was stored without
loss, perhaps scaled, perhaps saved as JPEG again. What ships is one more head that has learnt from all of them: how
that does on these pictures says nothing. Scores are computed as the int8 graph computes them, which is what the model
runs by default. Layer, views, strength, the number of photographs and the portraits were chosen on this very table
(records [0022](decisions/0022-new-starter.md) and [0026](decisions/0026-clip.md)), which flatters a little. So was the
share that may exceed a threshold, 1 %, for accused photographs well under 2 % and no large source far over 5 %: these
figures show the choice, and their intervals do not hold it. The frozen encoder is CLIP's, which has seen 400 million
pictures of the web, perhaps some of the photographs here. Intervals are of 95 %.
"""
POOR: Final = (
    "Of {generated:,} generated images and {photographs:,} photographs a poor copy each: half of them cropped to 40 to "
    "90 % of either side, one in ten gray, three in four with Gaussian noise of 1.5 to 20 levels, half saved as JPEG "
    "once more (`benchmarks.starter_deliveries.degrade`). The head has learnt from such copies of the pictures of "
    "other folds; thresholds come from pictures without them."
)
PORTRAITS: Final = (
    "{photographs:,} faces cut out of photographs and {generated:,} out of generated images (`benchmarks."
    "starter_portraits`), found by OpenCV's cascade; of 60 and 60 that were looked at, 13 and 6 show no human face. "
    "Four are of FFHQ. The head has learnt from those of other folds; thresholds come from pictures without them."
)
FILES: Final = (
    "A random forest that knows only container, width and height of the originals reaches, by the same protocol, a "
    "mean AUC of {auc} and finds {found}: generated images have sizes of their own. The model is told no container "
    "and no size, but the whole picture squashed to a square tells its proportions, and native pixels something of "
    "its scale. Beside each picture that is not square the head has therefore learnt from its centre square too."
)
SQUARES: Final = (
    "How much of the figures rests on proportions: the same pictures, each cut to its centre square before it is "
    "looked at, judged by the same heads and thresholds."
)


def render() -> str:
    """Return the page."""
    record: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    former: dict[str, Any] = json.loads(FORMER.read_text(encoding="utf-8"))
    verdicts, probe = record["verdicts"], record["format_probe"]
    sections = [
        HEAD.format(generated=f"{record['generated']:,}", photographs=f"{record['photographs']:,}"),
        _table(
            ("figure", "value", "aim"),
            [
                ("AUC, mean over the 13 families", f"{record['mean_family_auc']:.3f}", "0.87"),
                (
                    "generated images found where 3 % of photographs are accused",
                    _percent(record["found_at_3_percent"]),
                    "45 %",
                ),
                ("photographs called AI-generated", _share(verdicts["photographs called ai"]), "2 %"),
                (
                    "the same, each source counting alike",
                    _percent(verdicts["photographs called ai, sources counting alike"]),
                    "2 %",
                ),
                ("generated images called AI-generated", _share(verdicts["generated called ai"]), ""),
                ("photographs called photographs", _share(verdicts["photographs called photograph"]), ""),
                ("generated images called photographs", _share(verdicts["generated called photograph"]), "10 %"),
                (
                    "uncertain, both classes weighing half",
                    _percent(verdicts["uncertain, both classes weighing half"]),
                    "50 %",
                ),
                ("expected calibration error", f"{Estimate.from_dict(record['calibration_error']):.3f}", "0.05"),
            ],
        ),
        f"The first starter of this project (`{former['model']}`) had a mean AUC of {former['mean_family_auc']:.3f} "
        f"and found {_percent(former['found_at_3_percent'])} on {former['generated']:,} and "
        f"{former['photographs']:,} of these pictures, some of which it had learnt from.",
        _prevalence(record["right_of_ai_verdicts"]),
        "## By family, worst first\n\n![AUC by family](../benchmarks/results/starter_families.png)",
        _fakes(record["families"], FAMILIES),
        _ffhq(record["ffhq"]),
        "## By generator, worst first",
        "Generators of 20 images or more.",
        _fakes(record["generators"], {}),
        "## Photographs by source, most accused first",
        "Sources of 20 photographs or more. **Portraits of FFHQ fare worst where none of them was trained on**: its "
        "three sources lie in one fold. The head that ships has learnt from them. `ml72-real` are stock photographs, "
        "cut square, many of them strongly graded.",
        _photographs(record["sources"]),
        "## Photographs by maker of the camera",
        _photographs(record["makers"]),
        "## By delivery",
        _table(
            ("delivered", "generated images", "AUC, all pooled", "found", "photographs accused"),
            [
                (row["name"], str(row["n"]), _number(row["auc"]), _share(row["ai"]), _share(row["accused"]))
                for row in record["deliveries"]
            ],
        ),
        "What delivery costs on its own: a model made as this one, without one fold, was shown 150 originals of that "
        "fold and the same pictures delivered: AUC and verdicts agree within their intervals, side by side in "
        "[robustness.md](robustness.md#bundled-without-fold-2-untouched).",
        "## Poor copies",
        _beside(record["beside"]["poor"], POOR),
        "## Portraits",
        _beside(record["beside"]["portraits"], PORTRAITS),
        "## What the files alone would tell",
        FILES.format(found=_percent(probe["found_at_3_percent"]), auc=f"{probe['mean_family_auc']:.3f}"),
        _beside(record["beside"]["squares"], SQUARES),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def draw(record: Mapping[str, Any]) -> None:
    """Write the bar chart by family."""
    from cinemae.statistics.plot_style import new_figure, to_png

    rows = record["families"]
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    values = [Estimate.from_dict(row["auc"]) for row in rows]
    names = [f"{FAMILIES[row['name']]} ({row['n']})" for row in rows]
    errors = [[one.value - one.low for one in values], [one.high - one.value for one in values]]
    axes.barh(names[::-1], [one.value for one in values][::-1], xerr=[side[::-1] for side in errors], color="C0")
    axes.axvline(0.5, color="0.4", lw=1)
    axes.set(xlim=(0.4, 1.0), xlabel="AUC against photographs, family and source unseen (0.5: chance)")
    axes.grid(axis="x", alpha=0.3)
    CHART.write_bytes(to_png(figure))


def _prevalence(right: Mapping[str, float]) -> str:
    shares = ", ".join(f"{100 * value:.0f} % where {100 * float(share):.0f} % are" for share, value in right.items())
    return f'Of its verdicts "AI-generated" are right, by how many of the pictures shown to it are generated: {shares}.'


def _beside(figures: Mapping[str, Any], text: str) -> str:
    called = ("photographs called ai", "photographs called photograph", "generated called ai")
    names = (
        "photographs called AI-generated",
        "photographs called photographs",
        "generated images called AI-generated",
    )
    rows = [
        ("AUC, mean over families", f"{figures['mean_family_auc']:.3f}"),
        ("generated images found where 3 % of photographs are accused", _percent(figures["found_at_3_percent"])),
        *((name, _share(figures[key])) for name, key in zip(names, called, strict=True)),
        ("generated images called photographs", _share(figures["generated called photograph"])),
    ]
    return text.format_map(figures) + "\n\n" + _table(("figure", "value"), rows)


def _fakes(rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    return _table(
        ("made by", "n", "AUC", "called AI-generated", "called photograph"),
        [
            (
                names.get(row["name"], row["name"]),
                str(row["n"]),
                _number(row["auc"]),
                _share(row["ai"]),
                _share(row["photograph"]),
            )
            for row in rows
        ],
    )


def _ffhq(rows: Sequence[Mapping[str, Any]]) -> str:
    text = (
        "Why some are weak: their fold holds all {ffhq} portraits of FFHQ, so that the head that judges it has "
        "seen none of them, and gives many a high score, although it knows faces cut out of other photographs "
        "([portraits](#portraits)). The same scores against those of FFHQ and against all other photographs:"
    )
    table = _table(
        ("made by", "n", "AUC against FFHQ", "against all other photographs"),
        [
            (
                {**FAMILIES, "gan": "GANs but CycleGAN", "cyclegan": "CycleGAN"}[row["name"]],
                str(row["n"]),
                _number(row["auc_ffhq"]),
                _number(row["auc_others"]),
            )
            for row in rows
        ],
    )
    after = "CycleGAN's pictures are photographs of horses with another coat, and pass for photographs."
    return "\n\n".join((text.format(ffhq=rows[0]["ffhq"]), table, after))


def _photographs(rows: Iterable[Mapping[str, Any]]) -> str:
    return _table(
        ("photographs of", "n", "called AI-generated", "called photograph"),
        [(row["name"], str(row["n"]), _share(row["ai"]), _share(row["photograph"])) for row in rows],
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def _number(values: Mapping[str, Any]) -> str:
    return f"{Estimate.from_dict(values):.3f}"


def _share(values: Mapping[str, Any]) -> str:
    return f"{Estimate.from_dict(values):.1%}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
