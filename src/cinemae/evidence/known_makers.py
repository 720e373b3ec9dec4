"""Tables: which words in a file's metadata stand for which generator, editor or way of making.

Every row is a convention of some program, which may change with its next version; a missing row makes a signal
"unknown", never wrong. Words that are common elsewhere ("imagen" is Spanish, "flux" is physics) count only in
the form in which a generator writes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Says = Literal["generated", "edited", "camera", "unknown"]

SOURCE_TYPES: dict[str, tuple[Says, str]] = {
    "trainedAlgorithmicMedia": ("generated", "was made by a generative model"),
    "trainedAlgorithmicData": ("generated", "was made by a generative model"),
    "algorithmicMedia": ("generated", "was made by an algorithm"),
    "compositeWithTrainedAlgorithmicMedia": ("edited", "was edited, or made in part, with a generative model"),
    "compositeSynthetic": ("edited", "was put together, in part from synthetic elements"),
    "composite": ("edited", "was put together from several pictures"),
    "compositeCapture": ("edited", "was put together from several photographs"),
    "algorithmicallyEnhanced": ("edited", "was enhanced by an algorithm"),
    "humanEdits": ("edited", "was edited by hand"),
    "minorHumanEdits": ("edited", "was edited lightly by hand"),
    "digitalCapture": ("camera", "was taken with a digital camera"),
    "computationalCapture": ("camera", "was computed by a camera from several exposures"),
    "negativeFilm": ("camera", "was digitised from a negative"),
    "positiveFilm": ("camera", "was digitised from a positive"),
    "print": ("unknown", "was digitised from paper"),
    "digitalCreation": ("unknown", "was drawn with software"),
    "digitalArt": ("unknown", "was drawn with software"),
    "dataDrivenMedia": ("unknown", "was drawn from data"),
    "screenCapture": ("unknown", "was captured from a screen"),
    "virtualRecording": ("unknown", "was recorded in a virtual place"),
}
"""IPTC's vocabulary http://cv.iptc.org/newscodes/digitalsourcetype/ (with its retired terms), and C2PA's one word."""


@dataclass(frozen=True)
class Maker:
    """A program that makes or changes pictures.

    Attributes:
        name: For people.
        says: "generated", or "edited" for editors.
    """

    name: str
    says: Says


# In fields that name a program or a source: EXIF Software, XMP CreatorTool, C2PA's claim generator, IPTC Credit ...
_NAMES: tuple[tuple[str, str, Says], ...] = (
    # Credit lines: Google Photos writes "Edited with Google AI", Gemini and Imagen "Made with Google AI", Apple Photos
    # "Apple Photos Clean Up".
    (r"edited with google ai", "Google Photos", "edited"),
    (r"apple photos clean ?up", "Apple Photos Clean Up", "edited"),
    (
        r"made with google ai|google[ _-]imagen|\bimagen[ -]?[1-9]|google[ _-]gemini|nano[ -]banana",
        "Google AI",
        "generated",
    ),
    (r"image playground", "Apple Image Playground", "generated"),
    # Claim generators and software agents of Content Credentials: OpenAI, Adobe and Microsoft.
    (r"chatgpt|gpt-?4o|\bgpt[- ]image|\bopenai", "OpenAI", "generated"),
    (r"\bdall[ ·•.-]?e\b", "DALL-E", "generated"),
    (r"adobe[ _-]?firefly", "Adobe Firefly", "generated"),
    (r"bing image creator|microsoft responsible ai", "Microsoft Image Creator", "generated"),
    # Under their own names in Software, CreatorTool, Source or Comment.
    (r"midjourney", "Midjourney", "generated"),
    (r"novelai", "NovelAI", "generated"),
    (r"comfyui", "ComfyUI", "generated"),
    (r"invokeai", "InvokeAI", "generated"),
    (r"fooocus", "Fooocus", "generated"),
    (r"swarmui", "SwarmUI", "generated"),
    (r"draw things", "Draw Things", "generated"),
    (r"stable[ _-]?diffusion|\bsdxl\b|dreamstudio|stability[ .]?ai|automatic1111", "Stable Diffusion", "generated"),
    (r"black[ _-]forest[ _-]labs|\bflux[. ]1\b", "FLUX", "generated"),
    (r"leonardo[. ]?ai\b", "Leonardo.Ai", "generated"),
    (r"\bideogram\b", "Ideogram", "generated"),
    (r"imagined? with (meta )?ai|\bmeta ai\b", "Meta AI", "generated"),
    (r"\bgrok\b|\bxai\b", "xAI Grok", "generated"),
    # Editors and raw developers, under their own names.
    (r"adobe[ _]photoshop lightroom|\blightroom\b", "Adobe Lightroom", "edited"),
    (r"photoshop", "Adobe Photoshop", "edited"),
    (r"\bgimp\b", "GIMP", "edited"),
    (r"affinity (photo|designer)", "Affinity", "edited"),
    (r"snapseed", "Snapseed", "edited"),
    (r"picsart", "Picsart", "edited"),
    (r"pixelmator", "Pixelmator", "edited"),
    (r"capture one", "Capture One", "edited"),
    (r"darktable", "darktable", "edited"),
    (r"rawtherapee", "RawTherapee", "edited"),
    (r"luminar", "Luminar", "edited"),
    (r"paint\.net", "Paint.NET", "edited"),
    (r"\bcanva\b", "Canva", "edited"),
    (r"facetune", "Facetune", "edited"),
    (r"\bmeitu", "Meitu", "edited"),
    (r"dxo photolab", "DxO PhotoLab", "edited"),
    (r"topaz (photo|gigapixel|denoise|sharpen)", "Topaz", "edited"),
)
_MAX_NAME_CHARS = 400  # the rest of a longer one is not looked at
_NAME_PATTERNS = tuple((re.compile(pattern, re.IGNORECASE), Maker(name, says)) for pattern, name, says in _NAMES)

# In free text: only what a program writes by itself, so that a caption about Midjourney is no evidence of it. Each
# pattern is bounded, and what it matches is all that is ever shown: prompts stay private.
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TEXTS = tuple(
    (re.compile(pattern), Maker(name, "generated"))
    for pattern, name in (
        # AUTOMATIC1111 (modules/processing.py, create_infotext), and the many programs that write as it does.
        (r"\bSteps: \d{1,5}, (?:Sampler|Schedule type|CFG scale|Seed): [^\n]{0,160}", "Stable Diffusion web UI"),
        # SwarmUI, Fooocus (modules/meta_parser.py), Easy Diffusion, NovelAI: JSON in a comment or under "parameters".
        (r'"sui_image_params"', "SwarmUI"),
        (r'"version"\s{0,4}:\s{0,4}"Fooocus[^"\n]{0,40}"', "Fooocus"),
        (r'"use_stable_diffusion_model"', "Easy Diffusion"),
        (r'"(?:signed_hash|uncond_scale)"', "NovelAI"),
        # ComfyUI (nodes.py, SaveImage; comfy_extras, SaveAnimatedWEBP): the graph to run, and the graph as drawn.
        (r'"class_type"\s{0,4}:\s{0,4}"[^"\n]{1,80}"', "ComfyUI"),
        (r'"last_(?:node|link)_id"\s{0,4}:\s{0,4}"?[\w-]{1,40}', "ComfyUI"),
        # InvokeAI before 3.0: its command line.
        (r"-s ?\d{1,5} -S ?\d{1,12}\b", "InvokeAI"),
        # Midjourney's PNG Description ends so.
        (rf"\bJob ID: {_UUID}", "Midjourney"),
        # xAI: an ImageDescription of this form, always with an Artist that is a UUID.
        (rf"\ASignature: [A-Za-z0-9+/=]{{40,4096}}\n{_UUID}\Z", "xAI Grok"),
    )
)

PROGRAM_KEYS = {
    "invokeai_metadata": Maker("InvokeAI", "generated"),
    "invokeai_graph": Maker("InvokeAI", "generated"),
    "invokeai_workflow": Maker("InvokeAI", "generated"),
    "sd-metadata": Maker("InvokeAI", "generated"),
    "fooocus_scheme": Maker("Fooocus", "generated"),
    "use_stable_diffusion_model": Maker("Easy Diffusion", "generated"),
}
"""Keys of PNG texts that no other program uses, whatever the text says."""


def maker_in_name(text: str) -> Maker | None:
    """Return the known maker in a field that names a program or a source.

    Example:
        >>> maker_in_name("Adobe Photoshop 25.0 (Windows)")
        Maker(name='Adobe Photoshop', says='edited')
        >>> maker_in_name("HDR+ 1.0.54") is None
        True
    """
    text = text[:_MAX_NAME_CHARS]
    return next((maker for pattern, maker in _NAME_PATTERNS if pattern.search(text)), None)


def maker_in_text(text: str) -> tuple[Maker, str] | None:
    """Return the maker that wrote a free text, and the words that give it away.

    Example:
        >>> maker_in_text("a cat" + chr(10) + "Steps: 20, Sampler: Euler a, Seed: 7")
        (Maker(name='Stable Diffusion web UI', says='generated'), 'Steps: 20, Sampler: Euler a, Seed: 7')
        >>> maker_in_text("A talk on Midjourney") is None
        True
    """
    for pattern, maker in _TEXTS:
        if match := pattern.search(text):
            return maker, match.group()
    return None
