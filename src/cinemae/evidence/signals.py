"""One thing that a file says of its origin."""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from typing import Literal

from cinemae.evidence.known_makers import Maker, Says

MAX_VALUE_CHARS = 200

SignalSource = Literal["c2pa", "comment", "exif", "iptc", "png_text", "xmp"]


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


def role(maker: Maker | None, text: str) -> str:
    """Say what a file calls a program: its maker, an editor, or by its own name."""
    if maker is None:
        return f'the program "{clean(text)}"'
    return f"{maker.name} as its maker" if maker.says == "generated" else f"{maker.name}, an editor"


def clean(text: str) -> str:
    """Return one line fit for a terminal: no control, format or private characters, at most `MAX_VALUE_CHARS`."""
    text = text[: 4 * MAX_VALUE_CHARS]
    text = "".join(" " if unicodedata.category(char).startswith("C") else char for char in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 3]}..."
