"""What a file says of its own origin: evidence to show beside a score, and never to mix into it.

Words in a file prove little: anyone can write them, most sites strip them, and a picture without any may be either.
Only Content Credentials can be checked, and then they prove who signed, not what is true. Each signal says what was
read, where, and what that is worth. Prompts, names, places and dates are not shown (docs/provenance.md).
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from cinemae.errors import ConfigError, ImageError, MissingDependencyError
from cinemae.evidence.content_credentials import Credentials, read_credentials
from cinemae.evidence.known_makers import PROGRAM_KEYS, SOURCE_TYPES, Maker, Says, maker_in_name, maker_in_text
from cinemae.evidence.metadata_items import MetadataItem, read_items
from cinemae.evidence.xmp_properties import xmp_properties
from cinemae.pictures.picture import Picture

MAX_SIGNALS = 32
MAX_VALUE_CHARS = 200

SignalSource = Literal["c2pa", "comment", "exif", "iptc", "png_text", "xmp"]

_PROGRAMS = {
    "CreatorTool",
    "ImageEditingSoftware",
    "OriginatingProgram",
    "RAWDevelopingSoftware",
    "Software",
    "softwareAgent",
}
_CREDITS = {"Artist", "Author", "Credit", "Source"}  # mostly people's names: told only where they name a known maker
_PLACES = {"exif": "EXIF", "iptc": "IPTC", "xmp": "XMP"}
_UNSIGNED = "anyone can write that"
_MAX_CAMERA_CHARS = 80  # more than any make and model has: something else is kept there
_AIGC_LABEL = re.compile(r'"Label"\s{0,4}:\s{0,4}"?([123])\b')  # GB 45438-2025, appendix E
_AIGC_LABELS = {"1": "is generated", "2": "may be generated", "3": "is suspected to be generated"}
_NEUTRAL_ACTIONS = {
    "created",
    "opened",
    "converted",
    "transcoded",
    "repackaged",
    "published",
    "edited.metadata",
    "unknown",
}
_CHANGED = "the file was changed after it was signed"
_PROBLEMS = {
    "assertion.dataHash.mismatch": _CHANGED,
    "assertion.bmffHash.mismatch": _CHANGED,
    "assertion.boxesHash.mismatch": _CHANGED,
    "assertion.hashedURI.mismatch": "a statement was changed after it was signed",
    "claimSignature.mismatch": "the signature is wrong",
    "signingCredential.expired": "the certificate had expired",
    "claimSignature.outsideValidity": "it was signed outside the validity of the certificate",
}


@dataclass(frozen=True)
class ProvenanceSignal:
    """One thing that a file says of its origin.

    Attributes:
        source: Where it stands: "c2pa", "exif", "iptc", "xmp", "png_text" or "comment" (of a JPEG or GIF).
        name: The field.
        value: What it says, without control characters, at most `MAX_VALUE_CHARS` long; for free text only the words
            that a generator wrote by itself, and "present" where the field's name is enough.
        says: What that would make the picture, if it were true: "generated", "edited" (by a person, a program or a
            model), "camera", or "unknown".
        verified: True: a signature and the file match, and an anchor given vouches for the signer. False: they were
            checked and do not hold. None: nothing could be checked, or nobody vouches for the signer.
        sentence: The same for people, without a full stop.
    """

    source: SignalSource
    name: str
    value: str
    says: Says
    verified: bool | None
    sentence: str

    def to_dict(self) -> dict[str, str | bool | None]:
        """Return the fields as plain values for JSON."""
        return asdict(self)


def read_provenance(
    source: str | os.PathLike[str] | bytes | Picture, *, trust_anchors: str | None = None
) -> tuple[ProvenanceSignal, ...]:
    """Read what a file says of its origin, from its header; broken and hostile files give fewer signals, never errors.

    Nothing is decoded and nothing is fetched. Content Credentials are checked if c2pa-python is installed (extra
    ``c2pa``); otherwise they are only reported.

    Args:
        source: A path, encoded bytes, or a picture that was read before. A path that leads to no picture has no signal.
        trust_anchors: Root certificates in PEM that vouch for signers of Content Credentials. None is shipped: without
            them no signal is ever ``verified=True``.

    Returns:
        Content Credentials first, the rest in the order of the file; at most `MAX_SIGNALS`.

    Raises:
        ConfigError: If the trust anchors are not PEM certificates. (Damage within them shows only at a file that has
            credentials.)

    Example:
        >>> import io
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> exif = Image.Exif()
        >>> exif[0x0131] = "Midjourney v6"
        >>> Image.new("RGB", (8, 8)).save(file, "JPEG", exif=exif)
        >>> [signal] = read_provenance(file.getvalue())
        >>> signal.source, signal.name, signal.value, signal.says, signal.verified
        ('exif', 'Software', 'Midjourney v6', 'generated', None)
        >>> signal.sentence
        'the file names Midjourney as its maker (EXIF Software; anyone can write that)'
    """
    if trust_anchors is not None and "-----BEGIN CERTIFICATE-----" not in trust_anchors:
        raise ConfigError(
            "trust anchors are PEM certificates ('-----BEGIN CERTIFICATE-----'): give the text of such a file."
        )
    try:
        data = Picture.read(source).data
    except ImageError:
        return ()
    items = read_items(data)
    signals: dict[tuple[str, str, str], ProvenanceSignal] = {}
    embedded = any(item.source == "c2pa" for item in items)
    if embedded:
        signals |= {_key(signal): signal for signal in _embedded_credentials(data, trust_anchors)}
    for signal in _unsigned(items):
        if len(signals) < MAX_SIGNALS and not (embedded and signal.source == "c2pa"):
            signals.setdefault(_key(signal), signal)
    return tuple(signals.values())[:MAX_SIGNALS]


def summarise(signals: Sequence[ProvenanceSignal]) -> str | None:
    """Return one sentence for the weightiest signals, without a full stop; None where nothing was said.

    What is verified comes before what is not; then "generated" before "edited" before "camera". Where another signal
    says the contrary, both are told. Programs that say nothing of the origin are left out.

    Example:
        >>> summarise(()) is None
        True
    """
    order = ("generated", "edited", "camera")
    saying = [signal for signal in signals if signal.says in order]
    saying.sort(key=lambda signal: (signal.verified is not True, order.index(signal.says), signal.verified is False))
    if not saying:
        return next((signal.sentence for signal in signals if signal.source == "c2pa"), None)
    first = saying[0]
    other = "camera" if first.says == "generated" else "generated"
    second = next((signal for signal in saying if signal.says == other), None)
    return first.sentence if second is None else f"{first.sentence}; yet {second.sentence}"


def _key(signal: ProvenanceSignal) -> tuple[str, str, str]:
    return signal.source, signal.name, signal.value


def _embedded_credentials(data: bytes, trust_anchors: str | None) -> Iterator[ProvenanceSignal]:
    try:
        credentials = read_credentials(data, trust_anchors)
    except MissingDependencyError:
        sentence = "Content Credentials are present; install 'cinemae[c2pa]' to check them"
        yield ProvenanceSignal("c2pa", "manifest", "present", "unknown", None, sentence)
    except ImageError:
        sentence = "Content Credentials are present, but too damaged to be read"
        yield ProvenanceSignal("c2pa", "manifest", "unreadable", "unknown", None, sentence)
    else:
        yield from _credential_signals(credentials)


def _credential_signals(credentials: Credentials) -> Iterator[ProvenanceSignal]:
    verified = {"trusted": True, "valid": None, "invalid": False}[credentials.state]
    subject, worth, value = _standing(credentials)

    def signal(name: str, value: str, says: Says, words: str) -> ProvenanceSignal:
        sentence = f"Content Credentials {subject} {words} ({worth})"
        return ProvenanceSignal("c2pa", name, _clean(value), says, verified, sentence)

    for code in credentials.source_types:
        says, words = SOURCE_TYPES.get(code, ("unknown", f"is of the kind {_clean(code)}"))
        yield signal("digitalSourceType", code, says, f"say that the picture {words}")
    programs = [("softwareAgent", text) for text in credentials.agents]
    programs += [("claim_generator", text) for text in credentials.generators]
    for name, text in programs:
        maker = maker_in_name(text)
        yield signal(name, text, maker.says if maker else "unknown", f"name {_role(maker, text)}")
    changes = [action for action in credentials.actions if action.removeprefix("c2pa.") not in _NEUTRAL_ACTIONS]
    if changes:
        yield signal("actions", ", ".join(credentials.actions), "edited", f"list changes: {_clean(', '.join(changes))}")
    yield signal("validation", value, "unknown", "are embedded")


def _standing(credentials: Credentials) -> tuple[str, str, str]:
    """Return by whom the credentials are, what they are worth, and the same in short."""
    signer = _clean(credentials.signer) or "an unnamed signer"
    if credentials.state == "trusted":
        worth = "signature and file match, and the signer is on the trust list given"
        return f"signed by {signer}", worth, "trusted"
    if credentials.state == "valid":
        worth = "signature and file match, but no trust list given vouches for the signer"
        return f"signed in the name of {signer}", worth, "valid, but the signer is on no trust list given"
    words = dict.fromkeys(_PROBLEMS.get(code, _clean(code)) for code in credentials.problems[:3])
    worth = f"but they do not hold: {' and '.join(words) or 'their check failed'}"
    return f"in the name of {signer}", worth, f"invalid: {', '.join(credentials.problems)}"


def _unsigned(items: list[MetadataItem]) -> Iterator[ProvenanceSignal]:
    """Yield what fields say that anybody can write."""
    fields = [field for item in items for field in _fields(item)]
    for source, name, text in fields:
        if name in ("Make", "Model") and source == "exif":
            continue
        if signal := _signal(source, name, text):
            yield signal
    exif = {name: text for source, name, text in reversed(fields) if source == "exif"}
    if signal := _camera(exif.get("Make", ""), exif.get("Model", "")):
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
    ours: tuple[str, ...] = ("AISystemUsed", "DigitalSourceType")
    return [("iptc" if name in ours else "xmp", name, text) for name, text in xmp_properties(item.data)]


def _decode(item: MetadataItem) -> str:
    """Decode by the field's own rule; elsewhere UTF-8, or Latin-1 where it cannot be UTF-8."""
    data = item.data
    if item.name == "XPComment":
        return data.decode("utf-16-le", "replace")
    if item.name == "UserComment" and item.source == "exif":
        if data.startswith(b"UNICODE\0"):  # in the byte order of whoever wrote it: most programs take their own
            data = data[8:]
            return data.decode("utf-16-be" if data[::2].count(0) > data[1::2].count(0) else "utf-16-le", "replace")
        data = data.removeprefix(b"ASCII\0\0\0").removeprefix(b"\0\0\0\0\0\0\0\0")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _signal(source: SignalSource, name: str, text: str) -> ProvenanceSignal | None:
    if not text:
        return None
    if (source, name) == ("iptc", "DigitalSourceType"):
        return _source_type(source, text)
    if (source, name) == ("xmp", "provenance"):
        sentence = "the file refers to Content Credentials kept elsewhere, which are not fetched"
        return ProvenanceSignal("c2pa", "remote manifest", _clean(text), "unknown", None, sentence)
    if (source, name) == ("iptc", "AISystemUsed"):
        sentence = f"the file names {_clean(text)} as the AI system that made it (IPTC AISystemUsed; {_UNSIGNED})"
        return ProvenanceSignal(source, name, _clean(text), "generated", None, sentence)
    if (name == "AIGC" or '"AIGC"' in text) and (label := _AIGC_LABEL.search(text)):
        words = f"carries China's label that it {_AIGC_LABELS[label[1]]} ({_place(source, name)}; {_UNSIGNED})"
        says: Says = "generated" if label[1] == "1" else "unknown"
        return ProvenanceSignal(source, _clean(name), f"Label {label[1]}", says, None, f"the file {words}")
    if name in _PROGRAMS:
        return _made(source, name, text, maker_in_name(text))
    if name in _CREDITS and (maker := maker_in_name(text)):
        return _made(source, name, maker.name, maker)
    if source == "png_text" and name in PROGRAM_KEYS:
        return _made(source, name, "present", PROGRAM_KEYS[name])
    found = maker_in_text(text)
    return _made(source, name, found[1], found[0]) if found else None


def _source_type(source: SignalSource, text: str) -> ProvenanceSignal:
    code = text.rpartition("/")[2].rpartition(":")[2]
    says, words = SOURCE_TYPES.get(code, ("unknown", "is of a kind not known here"))
    sentence = f'the file says that it {words} (IPTC DigitalSourceType "{_clean(code)}"; {_UNSIGNED})'
    return ProvenanceSignal(source, "DigitalSourceType", _clean(code), says, None, sentence)


def _camera(make: str, model: str) -> ProvenanceSignal | None:
    """Take make and model as one, unless a generator hides its settings there, as ComfyUI does in WebP."""
    for name, text in (("Make", make), ("Model", model)):
        if found := maker_in_text(text):
            return _made("exif", name, found[1], found[0])
        if maker := maker_in_name(text):
            return _made("exif", name, text, maker)
    text = _clean(model if model.lower().startswith(make.lower()) else f"{make} {model}")
    if not text or len(text) > _MAX_CAMERA_CHARS:
        return None
    sentence = f"the file names the camera {text} (EXIF Make and Model; {_UNSIGNED})"
    return ProvenanceSignal("exif", "Make, Model", text, "camera", None, sentence)


def _made(source: SignalSource, name: str, value: str, maker: Maker | None) -> ProvenanceSignal:
    says: Says = maker.says if maker else "unknown"
    sentence = f"the file names {_role(maker, value)} ({_place(source, name)}; {_UNSIGNED})"
    return ProvenanceSignal(source, _clean(name), _clean(value), says, None, sentence)


def _role(maker: Maker | None, text: str) -> str:
    if maker is None:
        return f'the program "{_clean(text)}"'
    return f"{maker.name} as its maker" if maker.says == "generated" else f"{maker.name}, an editor"


def _place(source: SignalSource, name: str) -> str:
    if source == "comment":
        return "comment"
    return f'PNG text "{_clean(name)}"' if source == "png_text" else f"{_PLACES[source]} {name}"


def _clean(text: str) -> str:
    """Return one line fit for a terminal: no control, format or private characters, at most `MAX_VALUE_CHARS`."""
    text = text[: 4 * MAX_VALUE_CHARS]
    text = "".join(" " if unicodedata.category(char).startswith("C") else char for char in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 3]}..."
