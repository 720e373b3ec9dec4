"""What the fields of a file say of its origin that anybody can write: metadata items to signals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cinemae.evidence.known_makers import (
    PROGRAM_KEYS,
    SOURCE_TYPES,
    Maker,
    Says,
    maker_in_credit,
    maker_in_keys,
    maker_in_name,
    maker_in_text,
    no_camera,
    source_type_code,
)
from cinemae.evidence.metadata_items import MetadataItem
from cinemae.evidence.signals import ProvenanceSignal, SignalSource, clean, role
from cinemae.evidence.xmp_properties import xmp_properties

PROGRAM_FIELDS = {
    "CreatorTool",
    "ImageEditingSoftware",
    "OriginatingProgram",
    "RAWDevelopingSoftware",
    "Software",
    "softwareAgent",
}
CREDIT_FIELDS = {
    "Credit",
    "Source",
}  # mostly people and agencies: told only where they name a known maker and nobody else
_PEOPLE = {"Artist", "Author", "Creator"}  # never evidence: people bear the names of programs
_PLACES = {"exif": "EXIF", "iptc": "IPTC", "xmp": "XMP"}
HIDDEN = "hidden"
"""Name of a text that stands in the lowest bits of the pixels."""
_UNSIGNED = "anyone can write that"
_MAX_CAMERA_CHARS = 80  # more than any make and model has: something else is kept there
_AIGC_LABEL = re.compile(r'"Label"\s{0,4}:\s{0,4}"?([123])\b')  # GB 45438-2025, appendix E
_AIGC_LABELS = {"1": "is generated", "2": "may be generated", "3": "is suspected to be generated"}
_ENDED_BY_NUL = PROGRAM_FIELDS | {"Make", "Model"}  # what follows is left over from a longer text
_AI_PROMPT = "holds the prompt that a generative model was given"
_NO_CAMERA_SOURCES = {1: "film scanner", 2: "scanner"}  # EXIF FileSource; 3 is a digital camera


def unsigned_signals(items: Sequence[MetadataItem]) -> Iterator[ProvenanceSignal]:
    """Yield what fields say that anybody can write, in the order of the file."""
    fields = [field for item in items for field in _fields(item)]
    embedded = any(item.source == "c2pa" for item in items)
    for source, name, text in fields:
        if source == "exif" and name in ("Make", "Model", "FileSource"):
            continue
        if signal := _signal(source, name, text, embedded=embedded):
            yield signal
    keys = [name for source, name, _ in fields if source == "png_text"]
    if maker := maker_in_keys(keys):
        yield _made("png_text", next(key for key in keys if key.casefold().endswith("prompt")), "present", maker)
    exif = {name: text for source, name, text in reversed(fields) if source == "exif"}
    if signal := _camera(exif.get("Make", ""), exif.get("Model", ""), _file_source(items)):
        yield signal
    pair = f"{exif.get('ImageDescription', '')}\n{exif.get('Artist', '')}"
    if found := maker_in_text(pair):
        yield _made("exif", "ImageDescription", found[1], found[0])


def _fields(item: MetadataItem) -> list[tuple[SignalSource, str, str]]:
    """Return source, name and text of the fields in an item; IPTC's own properties count as IPTC's within XMP too."""
    if item.source == "c2pa":
        return []
    if item.source != "xmp":
        return [(item.source, item.name, _decode(item).strip("\0 \t\r\n"))]
    ours: tuple[str, ...] = ("AIPromptInformation", "AISystemUsed", "DigitalSourceFileType", "DigitalSourceType")
    return [("iptc" if name in ours else "xmp", name, text) for name, text in xmp_properties(item.data)]


def _decode(item: MetadataItem) -> str:
    """Decode by the field's own rule; elsewhere UTF-8, or Latin-1 where it cannot be UTF-8."""
    data = item.data
    if item.source == "exif" and item.name in _ENDED_BY_NUL:
        data = data.partition(b"\0")[0]
    if item.name in ("XPComment", "XPTitle"):
        return data.decode("utf-16-le", "replace")
    if item.name == "UserComment" and item.source == "exif":
        if data.startswith(b"UNICODE\0"):
            return _decode_unicode(data[8:])
        data = data.removeprefix(b"ASCII\0\0\0").removeprefix(b"JIS\0\0\0\0\0").removeprefix(bytes(8))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _decode_unicode(data: bytes) -> str:
    """Decode a UserComment "in Unicode": UTF-16 in the byte order of whoever wrote it, or UTF-8.

    Counting zero bytes misleads, since the low bytes of Chinese letters may be 0 too: the reading in which words of a
    generator stand is the right one; without any, the one with the most letters of ASCII.
    """
    readings = [data.decode(code, "replace") for code in ("utf-16-le", "utf-16-be", "utf-8")]
    told = next((text for text in readings if maker_in_text(text)), None)
    return told or max(readings, key=lambda text: sum(map(str.isascii, text)) - 2 * text.count("\0"))


def _signal(source: SignalSource, name: str, text: str, *, embedded: bool) -> ProvenanceSignal | None:
    if not clean(text) or name in _PEOPLE:
        return None
    if source == "iptc" and name in ("DigitalSourceType", "DigitalSourceFileType"):
        return _source_type(source, name, text)
    if (source, name) == ("xmp", "provenance"):
        return _reference(text, embedded=embedded)
    if (source, name) == ("iptc", "AISystemUsed"):
        sentence = f"the file names {clean(text)} as the AI system that made it (IPTC AISystemUsed; {_UNSIGNED})"
        return ProvenanceSignal(source, name, clean(text), "generated", None, sentence)
    if (source, name) == ("iptc", "AIPromptInformation"):
        sentence = f"the file {_AI_PROMPT} (IPTC AIPromptInformation; {_UNSIGNED})"
        return ProvenanceSignal(source, name, "present", "generated", None, sentence)
    if (name == "AIGC" or "AIGC" in text) and (label := _AIGC_LABEL.search(text.replace("\\", ""))):
        words = f"carries China's label that it {_AIGC_LABELS[label[1]]} ({_place(source, name)}; {_UNSIGNED})"
        says: Says = "generated" if label[1] == "1" else "unknown"
        return ProvenanceSignal(source, clean(name), f"Label {label[1]}", says, None, f"the file {words}")
    if name in PROGRAM_FIELDS:
        return _made(source, name, text, maker_in_name(text))
    if name in CREDIT_FIELDS and (maker := maker_in_credit(text)):
        return _made(source, name, maker.name, maker)
    if source == "png_text" and name in PROGRAM_KEYS:
        return _made(source, name, "present", PROGRAM_KEYS[name])
    found = maker_in_text(text)
    return _made(source, name, found[1], found[0]) if found else None


def _reference(text: str, *, embedded: bool) -> ProvenanceSignal | None:
    """Say where Content Credentials are that XMP refers to; other words in that field are not about any."""
    if text.lower().startswith(("http://", "https://")):
        sentence = "the file refers to Content Credentials kept elsewhere, which are not fetched"
        return ProvenanceSignal("c2pa", "remote manifest", clean(text), "unknown", None, sentence)
    if text.startswith("self#jumbf") and not embedded:
        sentence = "Content Credentials were embedded in the file and are gone"
        return ProvenanceSignal("c2pa", "manifest", "removed", "unknown", None, sentence)
    return None


def _source_type(source: SignalSource, name: str, text: str) -> ProvenanceSignal:
    code = source_type_code(text)
    says, words = SOURCE_TYPES.get(code, ("unknown", "is of a kind not known here"))
    sentence = f'the file says that it {words} (IPTC {name} "{clean(code)}"; {_UNSIGNED})'
    return ProvenanceSignal(source, name, clean(code), says, None, sentence)


def _file_source(items: Sequence[MetadataItem]) -> int:
    """Return EXIF FileSource, a single byte of type UNDEFINED; 0 if it is not there."""
    found = next((item.data for item in items if (item.source, item.name) == ("exif", "FileSource")), b"")
    return found[0] if found else 0


def _camera(make: str, model: str, file_source: int) -> ProvenanceSignal | None:
    """Take make and model as one, unless a generator hides its settings there, as ComfyUI does in WebP."""
    for name, text in (("Make", make), ("Model", model)):
        if found := maker_in_text(text):
            return _made("exif", name, found[1], found[0])
        if maker := maker_in_name(text):
            return _made("exif", name, text, maker)
    text = clean(model if model.lower().startswith(make.lower()) else f"{make} {model}")
    if not text or len(text) > _MAX_CAMERA_CHARS:
        return None
    other = _NO_CAMERA_SOURCES.get(file_source) or no_camera(f"{make} {model}")
    sentence = f"the file names the {other or 'camera'} {text} (EXIF Make and Model; {_UNSIGNED})"
    return ProvenanceSignal("exif", "Make, Model", text, "unknown" if other else "camera", None, sentence)


def _made(source: SignalSource, name: str, value: str, maker: Maker | None) -> ProvenanceSignal:
    says: Says = maker.says if maker else "unknown"
    words = maker.words if maker and maker.words else f"names {role(maker, value)}"
    sentence = f"the file {words} ({_place(source, name)}; {_UNSIGNED})"
    return ProvenanceSignal(source, clean(name), clean(value), says, None, sentence)


def _place(source: SignalSource, name: str) -> str:
    if source == "comment":
        return "comment"
    if name == HIDDEN:
        return "text hidden in the pixels"
    return f'PNG text "{clean(name)}"' if source == "png_text" else f"{_PLACES[source]} {name}"
