"""What a file says of its own origin: evidence to show beside a score, and never to mix into it.

Words in a file prove little: anyone can write them, most sites strip them, and a picture without any may be either.
Only Content Credentials can be checked, and then they prove who signed, not what is true. Each signal says what was
read, where, and what that is worth. Prompts, names, places and dates are not shown (docs/provenance.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cinemae.errors import ConfigError, ImageError, MissingDependencyError
from cinemae.evidence.content_credentials import Credentials, read_credentials
from cinemae.evidence.known_makers import SOURCE_TYPES, Says, maker_in_name
from cinemae.evidence.metadata_items import MetadataItem, read_items
from cinemae.evidence.signals import ProvenanceSignal, clean, role
from cinemae.evidence.stealth_text import read_stealth_text
from cinemae.evidence.unsigned_signals import CREDIT_FIELDS, HIDDEN, PROGRAM_FIELDS, unsigned_signals
from cinemae.pictures.picture import Picture

MAX_SIGNALS = 32


_DECLARED = {"digitalsourcetype", "digitalsourcefiletype"}
_NAMED = PROGRAM_FIELDS | CREDIT_FIELDS | {"claim_generator"}
_WATERMARKED = "c2pa.watermarked"
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
    items = [*read_items(data), *_hidden_text(data)]
    signals: dict[tuple[str, str, str], ProvenanceSignal] = {}
    embedded = any(item.source == "c2pa" for item in items)
    if embedded:
        signals |= {_key(signal): signal for signal in _embedded_credentials(data, trust_anchors)}
    for signal in unsigned_signals(items):
        if len(signals) < MAX_SIGNALS and not (embedded and signal.source == "c2pa"):
            signals.setdefault(_key(signal), signal)
    return _outranked(tuple(signals.values())[:MAX_SIGNALS])


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


def _outranked(signals: tuple[ProvenanceSignal, ...]) -> tuple[ProvenanceSignal, ...]:
    """Let a declared source type outrank the name of a program: an edit by a generator generates no picture."""
    declared = [signal for signal in signals if signal.name.casefold() in _DECLARED and signal.value in SOURCE_TYPES]
    if not declared or any(signal.says == "generated" for signal in declared):
        return signals
    return tuple(
        replace(signal, says="edited", sentence=signal.sentence.replace(" as its maker", "", 1))
        if signal.says == "generated" and signal.name in _NAMED
        else signal
        for signal in signals
    )


def _hidden_text(data: bytes) -> Iterator[MetadataItem]:
    """Yield the fields that are hidden in the pixels of a PNG with an alpha channel."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or data[25:26] != b"\6":
        return
    try:
        text = read_stealth_text(data)
    except Exception:  # a damaged picture: the reader of pixels says so
        return
    if text:
        yield MetadataItem("png_text", HIDDEN, text)


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
        return ProvenanceSignal("c2pa", name, clean(value), says, verified, sentence)

    for code in credentials.source_types:
        says, words = SOURCE_TYPES.get(code, ("unknown", f"is of the kind {clean(code)}"))
        yield signal("digitalSourceType", code, says, f"say that the picture {words}")
    programs = [("softwareAgent", text) for text in credentials.agents]
    programs += [("claim_generator", text) for text in credentials.generators]
    for name, text in programs:
        maker = maker_in_name(text)
        yield signal(name, text, maker.says if maker else "unknown", f"name {role(maker, text)}")
    watermarks = [action for action in credentials.actions if action.startswith(_WATERMARKED)]
    if watermarks:
        yield signal("watermark", ", ".join(watermarks), "unknown", "state that the picture carries a watermark")
    changes = [
        action
        for action in credentials.actions
        if action.removeprefix("c2pa.") not in _NEUTRAL_ACTIONS and action not in watermarks
    ]
    if changes:
        yield signal("actions", ", ".join(credentials.actions), "edited", f"list changes: {clean(', '.join(changes))}")
    yield signal("validation", value, "unknown", "are embedded")


def _standing(credentials: Credentials) -> tuple[str, str, str]:
    """Return by whom the credentials are, what they are worth, and the same in short."""
    signer = clean(credentials.signer) or "an unnamed signer"
    if credentials.signed_at:
        signer += f" on {clean(credentials.signed_at)}"
    if credentials.state == "trusted":
        worth = "signature and file match, and the signer is on the trust list given"
        return f"signed by {signer}", worth, "trusted"
    if credentials.state == "valid":
        worth = "signature and file match, but no trust list given vouches for the signer"
        return f"signed in the name of {signer}", worth, "valid, but the signer is on no trust list given"
    words = dict.fromkeys(_PROBLEMS.get(code, clean(code)) for code in credentials.problems[:3])
    worth = f"but they do not hold: {' and '.join(words) or 'their check failed'}"
    return f"in the name of {signer}", worth, f"invalid: {', '.join(credentials.problems)}"
