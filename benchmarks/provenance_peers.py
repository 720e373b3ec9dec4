"""What our provenance reader says of every picture in a folder, against ExifTool and c2pa-rs, the library of c2patool.

ExifTool is asked for its tags, c2pa-python for the report that c2patool prints. From each come claims: a program, a
device, a source type, a signer, a time, whether a check holds. Every claim that one side makes and the other does not
is printed, to be explained or mended. ExifTool checks no signature and does not say which manifest is the active one,
so of Content Credentials it can only confirm what we say.

Needs ``exiftool`` (Debian: libimage-exiftool-perl) and the extra ``c2pa``.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import c2pa

from cinemae.evidence.known_makers import source_type_code
from cinemae.evidence.provenance import read_provenance
from cinemae.evidence.signals import ProvenanceSignal, clean
from cinemae.sources.local_files import find_images

GENERATORS = re.compile(
    r"midjourney|stable[ _-]?diffusion|comfyui|invokeai|novelai|firefly|dall[·-]?e\b|openai|chatgpt|imagen\b|gemini"
    r"|\bflux\b|ideogram|leonardo|sdxl|trainedalgorithmic|algorithmicmedia|ai[ -]generated|made with ai|AIGC"
    r"|negative prompt|\bsteps: \d",
    re.IGNORECASE,
)
"""Words of generators anywhere in ExifTool's output, not taken from our own tables."""

_SIGNALS = {
    ("c2pa", "claim_generator"): "C2PA program",
    ("c2pa", "digitalSourceType"): "C2PA source type",
    ("c2pa", "softwareAgent"): "C2PA program",
    ("exif", "ImageEditingSoftware"): "EXIF program",
    ("exif", "Make, Model"): "EXIF device",
    ("exif", "RAWDevelopingSoftware"): "EXIF program",
    ("exif", "Software"): "EXIF program",
    ("iptc", "AISystemUsed"): "IPTC AI system",
    ("iptc", "DigitalSourceFileType"): "IPTC source type",
    ("iptc", "DigitalSourceType"): "IPTC source type",
    ("iptc", "OriginatingProgram"): "IPTC program",
    ("xmp", "CreatorTool"): "XMP program",
    ("xmp", "Software"): "XMP program",
    ("xmp", "softwareAgent"): "XMP program",
}
_TAGS = (
    (r"(IFD0|ExifIFD):(Software|RAWDevelopingSoftware|ImageEditingSoftware)", "EXIF program"),
    (r"XMP-\w+:(CreatorTool|Software|HistorySoftwareAgent)", "XMP program"),
    (r"XMP-\w+:DigitalSource(File)?Type", "IPTC source type"),
    (r"XMP-\w+:AISystemUsed", "IPTC AI system"),
    (r"IPTC:OriginatingProgram", "IPTC program"),
    (r"(CBOR|JSON):\w*DigitalSourceType", "C2PA source type"),
    (r"(CBOR|JSON):(\w*SoftwareAgents?(Name)?|Claim_generator|Claim_Generator_InfoName)", "C2PA program"),
)
_SIGNED = {"issuer": "C2PA signer", "time": "C2PA time"}


@dataclass(frozen=True, order=True)
class Claim:
    """One thing that a reader says of a file: what it is about, and what it says."""

    kind: str
    value: str


def our_claims(signals: Sequence[ProvenanceSignal]) -> set[Claim]:
    """Return what our signals say, in the words in which peers are asked."""
    claims = set()
    for one in signals:
        if (kind := _SIGNALS.get((one.source, one.name))) is not None:
            claims.add(Claim(kind, one.value))
        if (one.source, one.name) == ("c2pa", "validation"):
            claims.add(Claim("C2PA state", re.split("[,:]", one.value)[0]))
        if one.source == "c2pa" and one.name != "remote manifest" and one.value != "removed":
            claims.add(Claim("C2PA", "embedded"))
    return claims


def by_c2pa(report: dict[str, Any]) -> set[Claim]:
    """Return what a report of c2patool says of the picture: by its active manifest and those of its parents."""
    claims, state = {Claim("C2PA", "embedded")}, report["validation_state"].lower()
    manifests, label = dict(report["manifests"]), report["active_manifest"]
    signature = manifests.get(label, {}).get("signature_info") or {}
    failures = {entry["code"] for entry in report.get("validation_status", [])} - {"signingCredential.untrusted"}
    if state == "invalid" and all(code.startswith("cawg.") for code in failures):
        claims.add(Claim("C2PA identity", f"invalid ({', '.join(sorted(failures))})"))
        state = "valid"  # but for the identity assertion, whose documents we do not ask for
    claims.add(Claim("C2PA state", state))
    claims |= {Claim(kind, clean(signature[key])) for key, kind in _SIGNED.items() if signature.get(key)}
    while manifest := manifests.pop(label, None):
        infos = manifest.get("claim_generator_info") or [manifest.get("claim_generator")]
        claims.add(_program(infos[0]))
        for assertion in manifest.get("assertions", []):
            claims |= set(_stated(assertion.get("data")))
        parents = [one for one in manifest.get("ingredients", []) if one.get("relationship") == "parentOf"]
        label = next((one.get("active_manifest") for one in parents), None)
    return {claim for claim in claims if claim.value}


def _program(value: object) -> Claim:
    if isinstance(value, dict):
        value = " ".join(value[key] for key in ("name", "version") if isinstance(value.get(key), str))
    return Claim("C2PA program", clean(str(value or "")))


def _stated(data: object) -> Iterator[Claim]:
    """Yield source types and software agents wherever they stand in an assertion."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        name = re.split("[:/]", str(key))[-1].casefold()
        if name in ("digitalsourcetype", "digitalsourcefiletype"):
            text = value.get("@id", "") if isinstance(value, dict) else value
            yield Claim("C2PA source type", clean(source_type_code(str(text))))
        elif name == "softwareagent":
            yield _program(value)
        elif name == "softwareagents" and isinstance(value, list):
            yield from map(_program, value)
        else:
            yield from _stated(value)


def by_exiftool(tags: Mapping[str, Any]) -> set[Claim]:
    """Return what ExifTool's tags say; their names begin with the group of family 1, as ``-G1:4`` writes them."""
    claims, device = set(), {"Make": "", "Model": ""}
    for key, value in tags.items():
        group, name = key.split(":")[0], key.split(":")[-1]
        texts = [clean(str(part)) for part in (value if isinstance(value, list) else [value])]
        if group == "IFD0" and name in device:
            device[name] = device[name] or "".join(texts)
        if (group, name, texts) == ("JUMBF", "JUMDLabel", ["c2pa"]):
            claims.add(Claim("C2PA", "embedded"))
        kind = next((kind for tag, kind in _TAGS if re.fullmatch(tag, f"{group}:{name}")), None)
        if kind is not None:
            claims |= {Claim(kind, source_type_code(text) if "source" in kind else text) for text in texts}
    make, model = device["Make"], device["Model"]
    claims.add(Claim("EXIF device", clean(model if model.lower().startswith(make.lower()) else f"{make} {model}")))
    return {claim for claim in claims if claim.value}


def against_c2pa(signals: Sequence[ProvenanceSignal], report: dict[str, Any] | None) -> Iterator[str]:
    """Yield what we and the report of c2patool do not both say; None where it reads no manifest."""
    ours = {claim for claim in our_claims(signals) if claim.kind.startswith("C2PA")}
    theirs = set() if report is None else by_c2pa(report)
    sentences = " ".join(signal.sentence for signal in signals if signal.source == "c2pa")
    for claim in sorted(theirs - ours):
        if claim.kind not in _SIGNED.values() or claim.value not in sentences:
            yield f"c2pa alone: {claim.kind}: {claim.value}"
    yield from (f"ours, not c2pa's: {claim.kind}: {claim.value}" for claim in sorted(ours - theirs))


def against_exiftool(signals: Sequence[ProvenanceSignal], tags: Mapping[str, Any]) -> Iterator[str]:
    """Yield what we and ExifTool do not both say, and words of generators where we say nothing of the sort."""
    ours = {claim for claim in our_claims(signals) if claim.kind != "C2PA state"}
    theirs = by_exiftool(tags)
    for claim in sorted(theirs - ours):
        if claim.kind not in ("C2PA program", "C2PA source type"):  # also those of pictures put into this one
            yield f"ExifTool alone: {claim.kind}: {claim.value}"
    for claim in sorted(ours - theirs):
        same_kind = [other.value for other in theirs if other.kind == claim.kind]
        if not any(claim.value.startswith(value) for value in same_kind):  # ExifTool tells the version apart
            yield f"ours, not ExifTool's: {claim.kind}: {claim.value}"
    if not any(signal.says in ("generated", "edited") for signal in signals):
        own = (key for key in tags if not key.startswith(("System:", "ExifTool:", "SourceFile")))
        for key in own:
            if found := GENERATORS.search(str(tags[key])):
                yield f'ExifTool alone: a word of generators: "{found.group()}" in {key}'


def read_report(path: str) -> dict[str, Any] | None:
    """Return the report that c2patool prints for a file; None where it has none."""
    with c2pa.Context.from_dict({"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}) as context:
        try:
            with c2pa.Reader(path, context=context) as reader:
                report: dict[str, Any] = json.loads(reader.json())
        except c2pa.C2paError:
            return None
    return report


def read_tags(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return ExifTool's tags of each file, raw values, every copy of a tag."""
    command = ["exiftool", "-j", "-a", "-n", "-G1:4", "-charset", "filename=utf8", "-@", "-"]
    printed = subprocess.run(command, input="\n".join(paths), capture_output=True, text=True, errors="replace").stdout
    return {tags["SourceFile"]: tags for tags in json.loads(printed or "[]", parse_float=str, parse_int=str)}


def main() -> None:
    """Compare the readers on a folder, print each disagreement and how many there are of which kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="pictures, searched in all subfolders")
    folder = parser.parse_args().folder
    paths = list(find_images([folder]))
    tags = read_tags(paths)
    kinds: Counter[str] = Counter()
    credentials = signed = 0
    for path in paths:
        signals, report = read_provenance(path), read_report(path)
        credentials += any(claim.kind == "C2PA" for claim in our_claims(signals))
        signed += report is not None
        found = [*against_c2pa(signals, report), *against_exiftool(signals, tags.get(path, {}))]
        kinds.update(": ".join(line.split(": ")[:2]) for line in found)
        for line in found:
            print(f"{Path(path).relative_to(folder)}: {line}")
    exiftool = subprocess.run(["exiftool", "-ver"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"\nExifTool {exiftool}, c2pa-python {version('c2pa-python')}, {len(paths)} pictures,")
    print(f"Content Credentials found in {credentials}, read by c2pa-python in {signed}; disagreements by kind:")
    for kind, number in kinds.most_common():
        print(f"{number:5} {kind}")


if __name__ == "__main__":
    main()
