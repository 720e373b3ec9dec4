"""benchmarks/provenance_peers: what counts as the same claim. ExifTool's answers are made up, c2pa's are its own."""

from __future__ import annotations

from benchmarks import provenance_peers as peers
from tests.unit.test_content_credentials import PIXIE, created, encode, sign

from cinemae.evidence.provenance import read_provenance

SIGNALS = read_provenance(sign(encode("JPEG"), actions=[created()]))


def test_c2pa_and_we_say_the_same_of_a_signed_picture(tmp_path):
    (tmp_path / "a.jpg").write_bytes(sign(encode("JPEG"), actions=[created()]))
    report = peers.read_report(str(tmp_path / "a.jpg"))
    assert report is not None
    assert peers.Claim("C2PA signer", "Pixie Works") in peers.by_c2pa(report)
    assert list(peers.against_c2pa(SIGNALS, report)) == []


def test_each_side_that_says_more_is_named(tmp_path):
    (tmp_path / "b.jpg").write_bytes(sign(encode("JPEG"), by=PIXIE, actions=[created("digitalCapture", "Other")]))
    report = peers.read_report(str(tmp_path / "b.jpg"))
    assert list(peers.against_c2pa(SIGNALS, report)) == [
        "c2pa alone: C2PA program: Other",
        "c2pa alone: C2PA source type: digitalCapture",
        "ours, not c2pa's: C2PA program: Pixie 3",
        "ours, not c2pa's: C2PA source type: trainedAlgorithmicMedia",
    ]
    assert "ours, not c2pa's: C2PA: embedded" in peers.against_c2pa(SIGNALS, None)


def test_tags_of_exiftool():
    tags = {
        "IFD0:Make": "Canon",
        "IFD0:Model": "Canon EOS R5",
        "IFD0:Software": "Midjourney",
        "IFD1:Software": "of the thumbnail",
        "XMP-xmp:CreatorTool": "Draw Things",
        "XMP-iptcExt:DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/TrainedAlgorithmicMedia",
        "JUMBF:JUMDLabel": "c2pa",
        "CBOR:Copy1:ActionsSoftwareAgentName": "Pixie",
        "CBOR:Claim_Generator_InfoName": "Pixie Studio",
        "CBOR:ActionsDigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "XMP-dc:Subject": [],
    }
    assert list(peers.against_exiftool(SIGNALS, tags)) == [
        "ExifTool alone: EXIF device: Canon EOS R5",
        "ExifTool alone: EXIF program: Midjourney",
        "ExifTool alone: IPTC source type: trainedAlgorithmicMedia",
        "ExifTool alone: XMP program: Draw Things",
    ]
    assert list(peers.against_exiftool((), {"PNG:Parameters": "x, Steps: 20", "System:Directory": "midjourney"})) == [
        'ExifTool alone: a word of generators: "Steps: 2" in PNG:Parameters'
    ]
