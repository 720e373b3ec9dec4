"""Tables: which words in a file's metadata stand for which generator, editor or way of making.

Every row is a convention of some program, which may change with its next version; a missing row makes a signal
"unknown", never wrong. Words that are common elsewhere ("imagen" is Spanish, "flux" is physics) count only in
the form in which a generator writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
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

_SOURCE_CODES = {code.casefold(): code for code in SOURCE_TYPES}


def source_type_code(text: str) -> str:
    """Return the last part of a source type's address, as IPTC spells it where it is one of theirs.

    Example:
        >>> source_type_code("http://cv.iptc.org/newscodes/digitalsourcetype/TrainedAlgorithmicMedia/")
        'trainedAlgorithmicMedia'
        >>> source_type_code("digsrctype:print")
        'print'
    """
    code = text.strip().rstrip("/#").rpartition("/")[2].rpartition(":")[2].strip()
    return _SOURCE_CODES.get(code.casefold(), code)


@dataclass(frozen=True)
class Maker:
    """A program that makes or changes pictures.

    Attributes:
        name: For people.
        says: "generated", or "edited" for editors.
        words: What the file does that tells of it; empty: it names it.
    """

    name: str
    says: Says
    words: str = field(default="", repr=False)


_SETTINGS = Maker("a text-to-image program", "generated", "holds the settings of a text-to-image program")


# In fields that name a program or a source: EXIF Software, XMP CreatorTool, C2PA's claim generator, IPTC Credit ...
_NAMES: tuple[tuple[str, str, Says], ...] = (
    # Credit lines: Google Photos writes "Edited with Google AI", Gemini and Imagen "Made with Google AI", Apple Photos
    # "Apple Photos Clean Up".
    (r"\bedited with google ai\b", "Google Photos", "edited"),
    (r"\bapple photos clean ?up\b", "Apple Photos Clean Up", "edited"),
    (
        r"\bmade with google ai\b|\bgoogle[ _-]imagen\b|\bimagen[ -]?[1-9]|\bgoogle[ _-]gemini\b|\bnano[ -]banana\b",
        "Google AI",
        "generated",
    ),
    (r"\bimage playground\b", "Apple Image Playground", "generated"),
    # Claim generators and software agents of Content Credentials: OpenAI, Adobe and Microsoft.
    (r"\bchatgpt\b|\bgpt-?4o\b|\bgpt[- ]image\b|\bopenai\b", "OpenAI", "generated"),
    (r"\bdall[ ·•.-]?e\b", "DALL-E", "generated"),
    (r"\badobe[ _-]?firefly\b", "Adobe Firefly", "generated"),
    (r"\bbing image creator\b|\bmicrosoft responsible ai\b", "Microsoft Image Creator", "generated"),
    # Under their own names in Software, CreatorTool, Source or Comment.
    (r"\bmidjourney\b", "Midjourney", "generated"),
    (r"\bnovelai\b", "NovelAI", "generated"),
    (r"\bcomfyui\b", "ComfyUI", "generated"),
    (r"\binvoke ?ai\b", "InvokeAI", "generated"),
    (r"\bruined ?fooocus\b", "RuinedFooocus", "generated"),
    (r"fooocus", "Fooocus", "generated"),
    (r"swarmui\b", "SwarmUI", "generated"),
    (r"\bsd\.next\b", "SD.Next", "generated"),
    (r"\bmflux\b", "mflux", "generated"),
    (r"\bdraw things\b", "Draw Things", "generated"),
    (
        r"\bstable[ _-]?diffusion|\bsdxl\b|\bdreamstudio\b|\bstability[ .]?ai\b|\bautomatic1111\b",
        "Stable Diffusion",
        "generated",
    ),
    (r"\bblack[ _-]forest[ _-]labs\b|\bflux[. ]1\b|\Aai[ -]generated\b.{0,80}\bflux", "FLUX", "generated"),
    (r"\bleonardo[. ]?ai\b", "Leonardo.Ai", "generated"),
    (r"\bideogram\b", "Ideogram", "generated"),
    (r"\bimagined? with (meta )?ai\b|\bmeta ai\b", "Meta AI", "generated"),
    (r"\bgrok\b|\bxai\b", "xAI Grok", "generated"),
    # Editors and raw developers, under their own names.
    (r"\badobe[ _]photoshop lightroom\b|\blightroom\b", "Adobe Lightroom", "edited"),
    (r"\bphotoshop\b", "Adobe Photoshop", "edited"),
    (r"\bgimp\b", "GIMP", "edited"),
    (r"\baffinity (photo|designer)\b", "Affinity", "edited"),
    (r"\bsnapseed\b", "Snapseed", "edited"),
    (r"\bpicsart\b", "Picsart", "edited"),
    (r"\bpixelmator\b", "Pixelmator", "edited"),
    (r"\bcapture one\b", "Capture One", "edited"),
    (r"\bdarktable\b", "darktable", "edited"),
    (r"\brawtherapee\b", "RawTherapee", "edited"),
    (r"\bluminar\b", "Luminar", "edited"),
    (r"\bpaint\.net\b", "Paint.NET", "edited"),
    (r"\bcanva\b", "Canva", "edited"),
    (r"\bfacetune", "Facetune", "edited"),
    (r"\bmeitu(pic|xiuxiu)?\b", "Meitu", "edited"),
    (r"\bdxo photolab\b", "DxO PhotoLab", "edited"),
    (r"\btopaz (photo|gigapixel|denoise|sharpen)", "Topaz", "edited"),
)
_BESIDE_A_NAME = re.compile(
    r"(?:[\s\d.,:;()_/|-]|\bv(?=[\d.])|\b(?:v|ai|by|xl|using|with|made|created|generated|image"
    r"|version|diffusion|[0-9A-F]{8})\b)*",
    re.IGNORECASE,
)

# Make and Model of what digitises paper or film, or draws its pictures: scanners, copiers, consoles, game engines.
_SCANNERS = re.compile(
    "|".join(
        (
            r"scan|\bplustek\b|\bopticfilm\b|\bmicrotek\b|\bumax\b|\blide ?\d|\bfi-\d{4}|\bavision\b|\bczur\b",
            r"\bperfection|\bexpression \d+xl|\bepson (?:ds|es|gt|xp)-|\bepson stylus\b|\bkodak i\d{2,4}|\bcanon dr-",
            r"\bnikon ls-\d|\bflextight\b|\bprimefilm\b|\bnoritsu\b|\bfrontier\b|\bfuji photo film.{0,20}\bsp-\d{3,4}",
            r"\bxerox\b|\bworkcentre\b|\bversalink\b|\baltalink\b|\bphaser\b|\bdocucentre|\bapeosport|\bdocuprint",
            r"\blexmark\b|\boc[eé]\b|\bsharp (?:ar|mx)-|\b(?:scx|clx|kv-[sln])-?\d|\boki mc\d|\bcolorqube\b|\bdoxie\b",
            r"\bcanon ir|\bimagerunner|\bimagepress|\bimageclass|\bi-?sensys\b|\bpixma\b|\bmaxify\b|\bcanon mf\d",
            r"\bbizhub|\becosys\b|\btaskalfa\b|\baficio\b|\bricoh (?:im|mp|sp) |\be-studio|\bmultifunction",
            r"\b(?:mfc|dcp)-|\bads-\d{4}|\bofficejet\b|\blaserjet\b|\bdeskjet\b|\bphotosmart c\d{4}",
            r"\bhp (?:envy|psc)\b|\bworkforce\b|\becotank\b|\bet-\d{4}\b",
        )
    ),
    re.IGNORECASE,
)
_GAMES = re.compile(
    "|".join(
        (
            r"\bplaystation\b|\bxbox\b|\bnintendo\b.{0,40}\bswitch|\bswitch\b.{0,40}\bnintendo\b",
            r"\bsteam(?: ?vr| deck)?\b",
            r"\bnvidia\b|\bansel\b|\bunreal engine\b|\bunity\b|\bvrchat\b|\bsecond life\b|\bminecraft\b|\broblox\b",
            r"\bgran turismo\b|\bforza\b|\bvideo ?game",
        )
    ),
    re.IGNORECASE,
)


def no_camera(device: str) -> str | None:
    """Return what a device is if it is known to be no camera, by its make and model; None if it may be one.

    Example:
        >>> no_camera("EPSON Perfection V600"), no_camera("Sony PlayStation 5"), no_camera("Canon EOS R5") is None
        ('scanner or copier', 'game', True)
    """
    if _SCANNERS.search(device):
        return "scanner or copier"
    return "game" if _GAMES.search(device) else None


_MAX_NAME_CHARS = 400  # the rest of a longer one is not looked at
_NAME_PATTERNS = (
    *((re.compile(pattern, re.IGNORECASE), Maker(name, says)) for pattern, name, says in _NAMES),
    # What scripts of open models write in EXIF Software: "AI generated;txt2img;qwen-image".
    (
        re.compile(r"\Aai[ -]generated\b", re.IGNORECASE),
        Maker("a generative model", "generated", "calls itself AI-generated"),
    ),
)

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
        (r'"last_?(?:[Nn]ode|[Ll]ink)_?[Ii]d"\s{0,4}:\s{0,4}"?[\w-]{1,40}', "ComfyUI"),
        (r'\A(?:workflow:)?\s{0,4}\{"nodes"\s{0,4}:\s{0,4}\[\s{0,4}\{"id"', "ComfyUI"),
        # InvokeAI before 3.0: its command line.
        (r"-s ?\d{1,5}\b(?: -[A-Za-z_]{1,20} ?[\w.]{1,20}){0,12} -S ?\d{1,12}\b", "InvokeAI"),
        (r'"mflux_version"\s{0,4}:\s{0,4}"[^"\n]{1,40}"', "mflux"),
        # Midjourney's PNG Description ends so.
        (rf"\bJob ID: {_UUID}", "Midjourney"),
        # xAI: an ImageDescription of this form, always with an Artist that is a UUID.
        (rf"\ASignature: [A-Za-z0-9+/=]{{40,4096}}\n{_UUID}\Z", "xAI Grok"),
    )
)

_SETTING = re.compile(
    r"(?:\A|, ?)(Steps|Sampler|Schedule type|Scheduler|CFG scale|Guidance|Seed|Size|Model hash|Model|VAE|Clip skip"
    r"|Denoising strength|App|Pipeline|Version): [^,]{1,60}"
)
_PROGRAM_IN_JSON = re.compile(r'"(?:software|app|generator|backend)"\s{0,4}:\s{0,4}"([^"\n]{1,80})"', re.IGNORECASE)
_JSON_KEY = re.compile(r'"([A-Za-z][A-Za-z _-]{1,30})\\?"\s{0,4}:')
_SETTING_WORDS = (
    {"prompt", "positiveprompt", "positive", "promptstring", "prompts", "inputs"},
    {"seed", "noiseseed", "seeds"},
    {"steps", "numinferencesteps", "samplingsteps", "inferencesteps", "ddimsteps"},
)
"""A prompt, a seed and a number of steps: names of fields in small letters, without blanks and underscores."""

PROGRAM_KEYS = {
    "invokeai_metadata": Maker("InvokeAI", "generated"),
    "invokeai_graph": Maker("InvokeAI", "generated"),
    "invokeai_workflow": Maker("InvokeAI", "generated"),
    "sd-metadata": Maker("InvokeAI", "generated"),
    "Dream": Maker("InvokeAI", "generated"),
    "mold:parameters": Maker("mold", "generated"),
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
    if settings := _infotext(text):
        return Maker("Stable Diffusion web UI", "generated"), settings
    for match in _PROGRAM_IN_JSON.finditer(text):
        if (named := maker_in_name(match[1])) and named.says == "generated":
            return named, match.group()
    keys = [match[1] for match in _JSON_KEY.finditer(text)]
    return (_SETTINGS, "present") if settings_in_keys(keys) else None


def maker_in_keys(names: Iterable[str]) -> Maker | None:
    """Return the maker that the names of a file's texts give away together, as Tensor.Art's and Sygil's do."""
    return _SETTINGS if settings_in_keys(names) else None


def settings_in_keys(names: Iterable[str]) -> bool:
    """Tell whether fields of these names are the settings of a text-to-image program.

    Example:
        >>> settings_in_keys(["SD:prompt", "SD:seed", "SD:steps"]), settings_in_keys(["prompt", "seed"])
        (True, False)
    """
    plain = {re.sub(r"[ _-]", "", name.casefold().removeprefix("sd:")) for name in names}
    return all(plain & words for words in _SETTING_WORDS)


def maker_in_credit(text: str) -> Maker | None:
    """Return the known maker that a credit line names and nothing else: people are called Grok and Luminar too.

    Example:
        >>> maker_in_credit("Made with Google AI").name, maker_in_credit("Grok Hansen / Agency") is None
        ('Google AI', True)
    """
    text = text[:_MAX_NAME_CHARS]
    for pattern, maker in _NAME_PATTERNS:
        if match := pattern.search(text):
            rest = text[: match.start()], text[match.end() :]
            return maker if all(_BESIDE_A_NAME.fullmatch(part) for part in rest) else None
    return None


def _infotext(text: str) -> str:
    """Return the settings of a line written as AUTOMATIC1111 writes them, in any order; empty if there is none."""
    for line in text.splitlines() if "Steps: " in text or "Seed: " in text else ():
        found = {match[1]: match[0].lstrip(", ") for match in _SETTING.finditer(line)}
        if len(found) >= 3 and found.keys() & {"Steps", "Seed"}:
            return ", ".join(found.values())[:160]
    return ""
