"""What published data sets hold: their generators, the names of these on disk, and how many images of each class.

A count that no source states is None: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Canonical name, as the tables of detection papers print it, and other names that releases use for its folder. Names
# are compared by letters and digits alone, in any case.
_ALIASES: dict[str, tuple[str, ...]] = {
    "ADM": ("imagenet_ai_0508_adm", "guided_diffusion"),
    "BigGAN": ("imagenet_ai_0419_biggan",),
    "CRN": (),
    "Chameleon": (),
    "CycleGAN": (),
    "DALL-E 2": ("DALLE2",),
    "Deepfakes": ("deepfake",),
    "GLIDE": ("imagenet_glide",),
    "GauGAN": (),
    "IMLE": (),
    "Midjourney": ("imagenet_midjourney",),
    "ProGAN": (),
    "SAN": (),
    "SD v1.4": ("stable_diffusion_v_1_4", "Stable Diffusion V1.4", "imagenet_ai_0419_sdv4", "sdv4", "SD14"),
    "SD v1.5": ("stable_diffusion_v_1_5", "Stable Diffusion V1.5", "imagenet_ai_0424_sdv5", "sdv5", "SD15"),
    "SDXL": ("sd_xl", "stable_diffusion_xl"),
    "SITD": ("seeingdark",),
    "StarGAN": (),
    "StyleGAN": (),
    "StyleGAN2": (),
    "VQDM": ("imagenet_ai_0419_vqdm",),
    "WFIR": ("whichfaceisreal",),
    "Wukong": ("imagenet_ai_0424_wukong",),
}


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


_CANONICAL = {_key(alias): name for name, aliases in _ALIASES.items() for alias in (name, *aliases)}


def known_generator(name: str) -> str | None:
    """Return the canonical name of a generator of the published data sets, None for other names.

    Example:
        >>> known_generator("stable_diffusion_v_1_4"), known_generator("whichfaceisreal"), known_generator("airplane")
        ('SD v1.4', 'WFIR', None)
    """
    return _CANONICAL.get(_key(name))


def canonical_generator(name: str) -> str:
    """Return the canonical name of a generator, or the name as it came if it is none of those known.

    Example:
        >>> canonical_generator("imagenet_glide"), canonical_generator("my model")
        ('GLIDE', 'my model')
    """
    return known_generator(name) or name


@dataclass(frozen=True, slots=True)
class PublishedCount:
    """How many images of one generator and split a data set has, as published.

    Attributes:
        real: Photographs of this generator's own set; None where no source says.
        fake: Generated images; None where no source says.
        total: Of both classes, printed in hundreds; None where the classes are known, or nothing is.
    """

    real: int | None = None
    fake: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class Benchmark:
    """One published data set.

    Attributes:
        title: Its name.
        tree: Its folders, for error messages.
        classes: Names of the folders with images, and the label of each.
        source: Where the counts come from.
        counts: By generator and split, in the order of the papers' tables.
        default_split: Of images below no folder named after a split; None where there must be one.
    """

    title: str
    tree: str
    classes: Mapping[str, int]
    source: str
    counts: Mapping[tuple[str, str], PublishedCount]
    default_split: str | None = None

    @property
    def generators(self) -> list[str]:
        """The generators, in order."""
        return list(dict.fromkeys(generator for generator, _ in self.counts))

    @property
    def splits(self) -> list[str]:
        """The splits, in order."""
        return list(dict.fromkeys(split for _, split in self.counts))


_GENIMAGE = ("Midjourney", "SD v1.4", "SD v1.5", "ADM", "GLIDE", "Wukong", "VQDM", "BigGAN")
_CLASSES_01 = {"0_real": 0, "1_fake": 1}

BENCHMARKS: Mapping[str, Benchmark] = {
    # Zhu et al., "GenImage", arXiv 2306.08571, Sec. 3: 1,000 classes; each generator made 162 images a class for
    # training and 6 for testing, SD v1.5 166 and 8: 1,350,000 in all. The test photographs are ImageNet's 50,000 for
    # validation, as many as there are fakes. Its 1,281,167 photographs for training are fewer than the 1,300,000
    # fakes; how many each generator got is not stated.
    "genimage": Benchmark(
        title="GenImage",
        tree="<Generator>/[imagenet_.../]{train|val}/{ai,nature}",
        classes={"nature": 0, "ai": 1},
        source="arXiv 2306.08571, Sec. 3",
        counts={
            (generator, split): PublishedCount(real=1000 * real if real else None, fake=1000 * fake)
            for generator in _GENIMAGE
            for split, real, fake in (
                (("train", None, 166), ("val", 8, 8))
                if generator == "SD v1.5"
                else (("train", None, 162), ("val", 6, 6))
            )
        },
    ),
    # Zhong et al., "PatchCraft", arXiv 2311.12397, table of the test sets: totals of both classes, in hundreds. The
    # folders are those of eval_config.py in github.com/Ekko-zn/AIGCDetectBenchmark.
    "aigcdetect": Benchmark(
        title="AIGCDetectBenchmark",
        tree="<generator>/[category/]{0_real,1_fake}",
        classes=_CLASSES_01,
        source="arXiv 2311.12397, table of the test sets; totals in hundreds",
        counts={
            (generator, "test"): PublishedCount(total=100 * hundreds)
            for generator, hundreds in {
                "ProGAN": 80,
                "StyleGAN": 120,
                "BigGAN": 40,
                "CycleGAN": 26,
                "StarGAN": 40,
                "GauGAN": 100,
                "StyleGAN2": 159,
                "WFIR": 20,
                "ADM": 120,
                "GLIDE": 120,
                "Midjourney": 120,
                "SD v1.4": 120,
                "SD v1.5": 160,
                "VQDM": 120,
                "Wukong": 120,
                "DALL-E 2": 20,
            }.items()
        },
        default_split="test",
    ),
    # Wang et al., "CNN-generated images are surprisingly easy to spot... for now", arXiv 1912.11035: Table 1 has totals
    # in hundreds; demo_dirs_log.txt of github.com/PeterWang512/CNNDetection (branch gh-pages) counts each class. That
    # log reads the first category of CycleGAN, StyleGAN and StyleGAN2 over and over, so there only the totals hold.
    "forensynths": Benchmark(
        title="ForenSynths",
        tree="<generator>/[category/]{0_real,1_fake}",
        classes=_CLASSES_01,
        source="arXiv 1912.11035, Table 1, and demo_dirs_log.txt of its repository",
        counts={
            (generator, "test"): PublishedCount(*numbers)
            for generator, numbers in {
                "ProGAN": (4000, 4000),
                "StyleGAN": (None, None, 12000),
                "BigGAN": (2000, 2000),
                "CycleGAN": (None, None, 2600),
                "StarGAN": (1999, 1999),
                "GauGAN": (5000, 5000),
                "CRN": (6382, 6382),
                "IMLE": (6382, 6382),
                "SITD": (180, 180),
                "SAN": (219, 219),
                "Deepfakes": (2707, 2698),
                "StyleGAN2": (None, None, 15900),
                "WFIR": (1000, 1000),
            }.items()
        },
        default_split="test",
    ),
    # Yan et al., "A Sanity Check for AI-generated Image Detection", arXiv 2406.19435, Sec. 3: 14,863 photographs and
    # 11,170 generated images, by generators that are not told; a test set only.
    "chameleon": Benchmark(
        title="Chameleon",
        tree="[Chameleon/][test/]{0_real,1_fake}",
        classes=_CLASSES_01,
        source="arXiv 2406.19435, Sec. 3",
        counts={("Chameleon", "test"): PublishedCount(real=14863, fake=11170)},
        default_split="test",
    ),
}
