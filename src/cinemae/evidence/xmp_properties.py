"""The few XMP properties that tell where a picture came from.

XMP is XML from a stranger. Expat reads it here with no document type allowed, so there are no entities to expand, and
with the encoding fixed to UTF-8, as XMP in image files has it. (Pillow's ``getxmp`` needs the package defusedxml for
the same, and builds the whole tree.)
"""

from __future__ import annotations

from contextlib import suppress
from xml.parsers import expat

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"

# Namespace and name, parted by a blank -> the name given here. XMP specification, part 2; IPTC Photo Metadata 2025.1;
# Dublin Core; stEvt:softwareAgent is of xmpMM:History; GB 45438-2025 (labels that China asks of generators) for AIGC.
_PROPERTIES = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ DigitalSourceType": "DigitalSourceType",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ DigitalSourceFileType": "DigitalSourceFileType",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ AIPromptInformation": "AIPromptInformation",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/ AISystemUsed": "AISystemUsed",
    "http://ns.adobe.com/exif/1.0/ Software": "Software",
    "http://ns.adobe.com/exif/1.0/ UserComment": "UserComment",
    "http://ns.adobe.com/photoshop/1.0/ Credit": "Credit",
    "http://ns.adobe.com/tiff/1.0/ Software": "Software",
    "http://ns.adobe.com/xap/1.0/ CreatorTool": "CreatorTool",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent# softwareAgent": "softwareAgent",
    "http://purl.org/dc/elements/1.1/ description": "description",
    "http://purl.org/dc/terms/ provenance": "provenance",
    "http://www.tc260.org.cn/ns/AIGC/1.0/ AIGC": "AIGC",
}
_NAMES = {key.casefold(): name for key, name in _PROPERTIES.items()}
"""In small letters: some writers have ``xmp:creatortool``."""
_MAX_PROPERTIES = 64


class _NotXmp(Exception):  # noqa: N818 - stops the parser; never leaves this module
    """The packet has a document type, or more properties than anyone needs."""


class _Collector:
    """Keeps the wanted properties, however RDF writes them: attribute, text, list item, or ``rdf:resource``."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._name = ""
        self._depth = 0
        self._text: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        for key, value in attributes.items():
            field = tag if key == f"{_RDF} resource" else key
            if name := _NAMES.get(field.casefold()):
                self._keep(name, value)
        if self._name:
            self._depth += 1
        elif name := _NAMES.get(tag.casefold()):
            self._name, self._depth, self._text = name, 1, []

    def end(self, tag: str) -> None:
        if not self._name:
            return
        self._depth -= 1
        if self._depth == 0 or tag == f"{_RDF} li":
            self._keep(self._name, "".join(self._text))
            self._text = []
        if self._depth == 0:
            self._name = ""

    def characters(self, text: str) -> None:
        if self._name:
            self._text.append(text)

    def _keep(self, name: str, text: str) -> None:
        if text.strip() and (name, text.strip()) not in self.found:
            self.found.append((name, text.strip()))
        if len(self.found) >= _MAX_PROPERTIES:
            raise _NotXmp


def xmp_properties(packet: bytes) -> list[tuple[str, str]]:
    """Return names and texts of the properties found before the packet ends or breaks.

    Example:
        >>> packet = b'<x xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreatorTool="Draw Things"/>'
        >>> xmp_properties(packet)
        [('CreatorTool', 'Draw Things')]
        >>> xmp_properties(b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + packet)
        []
    """
    collector = _Collector()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.characters
    with suppress(expat.ExpatError, _NotXmp):
        parser.Parse(packet.strip(b"\0 \t\r\n"), True)
    return collector.found


def _refuse(*_: object) -> None:
    raise _NotXmp
