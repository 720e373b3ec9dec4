"""Every method that the paper compares with, and the simple ones of today: how each is run here, or what is missing.

The table of docs/evaluation.md and the sentences about what cannot be run come from here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        name: What ``--detector`` takes.
        title: As the paper's tables print it.
        paper: Authors, year, venue.
        project: Of the authors' code, on GitHub; "" where none was published.
        licence: Of that code; "none stated" where the repository has none.
        here: What of it runs here and what differs from the publication; of a method that does not run, what is
            missing.
        detectzoo: Its name in DetectZoo, with the authors' weights; "" where it has none.
        runs: Whether ``--detector NAME`` runs it.
    """

    name: str
    title: str
    paper: str
    project: str
    licence: str
    here: str
    detectzoo: str = ""
    runs: bool = True

    @property
    def command(self) -> str:
        """What to pass to ``cinemae evaluate``."""
        if self.runs:
            needs_encoder = self.name in ("univfd", "linear-probe")
            return f"--detector {self.name}{',backbone=DIR' if needs_encoder else ''} --train IMAGES"
        return f"--detector detectzoo:{self.detectzoo}" if self.detectzoo else "--detector scores.csv"

    @property
    def missing(self) -> str:
        """The sentence about a method that does not run here."""
        code = f"{self.project} on GitHub (licence: {self.licence})" if self.project else "none published"
        way = "with DetectZoo, which fetches them" if self.detectzoo else "score the images with its own code"
        return (
            f"{self.title} ({self.paper}) cannot be trained or run here: {self.here} Code: {code}. To compare with it, "
            f"{way}: {self.command}"
        )


METHODS = (
    Method(
        "swin",
        "Swin-T",
        "Liu et al. 2021, ICCV",
        "microsoft/Swin-Transformer",
        "MIT",
        "transformers' Swin; fresh weights, or `backbone=DIR` with ImageNet's.",
    ),
    Method(
        "cnnspot",
        "CNNSpot",
        "Wang et al. 2020, CVPR",
        "PeterWang512/CNNDetection",
        "CC BY-NC-SA 4.0",
        "ResNet-50, blur and JPEG in training; learning rate lowered by epochs, not by validation.",
        "cnnspot",
    ),
    Method(
        "spec",
        "Spec",
        "Zhang et al. 2019, WIFS",
        "ColumbiaDVMM/AutoGAN",
        "none stated",
        "ResNet-34 on log spectra; trained on real fakes, not on AutoGAN's simulated ones; Adam.",
    ),
    Method(
        "fredect",
        "FreDect",
        "Frank et al. 2020, ICML",
        "RUB-SysSec/GANDCTAnalysis",
        "MIT",
        "Logistic regression on the log DCT.",
    ),
    Method(
        "f3net",
        "F3Net",
        "Qian et al. 2020, ECCV",
        "",
        "",
        "Both frequency branches on Xceptions, without MixBlock; from scratch, Adam.",
    ),
    Method(
        "gramnet",
        "GramNet",
        "Liu et al. 2020, CVPR",
        "liuzhengzhe/Global_Texture_Enhancement_for_Fake_Face_Detection_in_the-Wild",
        "none stated",
        "ResNet-18 and six Gram blocks; fresh weights, or `backbone=DIR`.",
    ),
    Method(
        "fusing",
        "Fusing",
        "Ju et al. 2022, ICIP",
        "littlejuyan/FusingGlobalandLocal",
        "CC BY-NC-SA 4.0",
        "ResNet-50 on the halved crop and six patches, three layers of attention; `crop=448` for the published sizes.",
    ),
    Method(
        "lnp",
        "LNP",
        "Liu et al. 2022, ECCV",
        "Tangsenghenshou/Detecting-Generated-Images-by-Real-Images",
        "none stated",
        "ResNet-50 on noise, amplitude and phase; the noise is a Wiener filter's, for want of CycleISP's weights.",
    ),
    Method(
        "univfd",
        "UnivFD",
        "Ojha et al. 2023, CVPR",
        "WisconsinAIVision/UniversalFakeDetect",
        "MIT",
        "Logistic regression or nearest neighbours on CLIP's features from a local folder.",
        "univfd",
    ),
    Method(
        "patchcraft",
        "PatchCraft",
        "Zhong et al. 2023",
        "",
        "",
        "Rich and poor patches from a grid, not drawn; SRM filters and network as published.",
        "patchcraft",
    ),
    Method(
        "npr",
        "NPR",
        "Tan et al. 2024, CVPR",
        "chuangchuangtan/NPR-DeepfakeDetection",
        "none stated",
        "As published, from scratch.",
        "npr_deepfake",
    ),
    Method(
        "aide-low",
        "AIDE, low-level branch",
        "Yan et al. 2025, ICLR",
        "shilinyan99/AIDE",
        "MIT",
        "Patches by DCT grade, SRM noise, two ResNet-50, a classifier of its own; patches come from the crop.",
    ),
    Method(
        "ferretnet",
        "FerretNet",
        "Liang et al. 2025, NeurIPS",
        "xigua7105/FerretNet",
        "Apache-2.0",
        "FerretNet-B, or -S with `width=32`; from scratch.",
    ),
    Method(
        "linear-probe",
        "Linear probe",
        "no paper of its own",
        "",
        "",
        "Logistic regression on the frozen [CLS] of DINOv2, CLIP, a ViT or a converted encoder.",
    ),
    Method(
        "aide",
        "AIDE",
        "Yan et al. 2025, ICLR",
        "shilinyan99/AIDE",
        "MIT",
        "its semantic half is OpenCLIP's ConvNeXt-XXL, whose weights no package carries; `aide-low` is the other half.",
        "aide",
        runs=False,
    ),
    Method(
        "lgrad",
        "LGrad",
        "Tan et al. 2023, CVPR",
        "chuangchuangtan/LGrad",
        "none stated",
        "the StyleGAN discriminator whose gradients it takes and its ResNet-50 lie on Google Drive.",
        "lgrad",
        runs=False,
    ),
    Method(
        "dire",
        "DIRE",
        "Wang et al. 2023, ICCV",
        "ZhendongWang6/DIRE",
        "none stated",
        "it redraws each picture with ADM's diffusion model; its ResNet-50 lies on Baidu and RecDrive.",
        runs=False,
    ),
    Method(
        "lare",
        "LaRE",
        "Luo et al. 2024, CVPR",
        "luo3300612/LaRE",
        "Apache-2.0",
        "it needs Stable Diffusion for the error in latent space; no trained classifier was published.",
        runs=False,
    ),
    Method(
        "gendet",
        "GenDet",
        "Zhu et al. 2023",
        "",
        "",
        "neither code nor weights were found published.",
        runs=False,
    ),
    Method(
        "fatformer",
        "FatFormer",
        "Liu et al. 2024, CVPR",
        "Michel-liu/FatFormer",
        "Apache-2.0",
        "its adapters within CLIP ViT-L/14 lie on Google Drive, OneDrive and Baidu; no training code was published.",
        "fatformer",
        runs=False,
    ),
    Method(
        "c2p-clip",
        "C2P-CLIP",
        "Tan et al. 2025, AAAI",
        "chuangchuangtan/C2P-CLIP-DeepfakeDetection",
        "none stated",
        "its weights lie on the authors' own server; no training code was published.",
        "c2p_clip",
        runs=False,
    ),
)


def absent_method(name: str) -> Method | None:
    """Return the method of this name that is known and does not run here.

    Example:
        >>> absent_method("lgrad").command
        '--detector detectzoo:lgrad'
        >>> absent_method("npr") is None
        True
    """
    return next((method for method in METHODS if method.name == name.lower() and not method.runs), None)


def methods_table() -> str:
    """Return all methods as a Markdown table: those that run, then those that do not."""
    lines = ["| method | `--detector` | code, licence | here |", "|---|---|---|---|"]
    for method in METHODS:
        code = f"{method.project}, {method.licence}" if method.project else "-"
        option = f"`{method.name}`" if method.runs else "-"
        beside = f" or `detectzoo:{method.detectzoo}`" if method.detectzoo and method.runs else ""
        beside = f"`detectzoo:{method.detectzoo}`" if method.detectzoo and not method.runs else beside
        cell = (option + beside).removeprefix("-") or "-"
        here = method.here if method.runs else f"Not here: {method.here}"
        lines.append(f"| {method.title} ({method.paper}) | {cell} | {code} | {here} |")
    return "\n".join(lines)
