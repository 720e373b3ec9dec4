"""evidence/provenance over files that went wrong once, each of them a kind; some are kept as files in tests/cases."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from cinemae.evidence.provenance import read_provenance, summarise

CASES = Path(__file__).parents[1] / "cases"
GENERATED = (
    "ai_prompt_only.jpg", "aigc_escaped.jpg", "c2pa_http_slash.jpg", "c2pa_iptc_assertion.jpg",
    "comfy_workflow_no_ids.png", "dst_case.jpg", "dst_filetype.jpg", "dst_slash.jpg", "invoke_dream_old.png",
    "jpeg_garbage_before_exif.jpg", "mflux.jpg", "ruinedfooocus.png", "sdnext_size_after_steps.png",
    "stealth_alpha.png", "sygil.png", "tensorart.png", "uc_le_utf8.jpg", "uc_zh_lowzero_be.jpg",
    "xmp_png_rawprofile.png",
)  # fmt: skip
SILENT = (
    "untrue_0_Artist.jpg", "untrue_2_Artist.jpg", "untrue_4_Artist.jpg", "untrue_5_Artist.jpg", "untrue_7_Artist.jpg",
)  # fmt: skip
GREY = Image.new("RGB", (32, 24), (90, 90, 90))


def said(source: str | bytes | Path) -> set[str]:
    return {signal.says for signal in read_provenance(source)}


def exif_jpeg(tags: dict[int, object], inner: dict[int, object] | None = None) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif.update(tags)
    exif.get_ifd(0x8769).update(inner or {})
    GREY.save(file, "JPEG", exif=exif)
    return file.getvalue()


def png(texts: dict[str, str], image: Image.Image = GREY, *, packed: bool = False) -> bytes:
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for key, text in texts.items():
        info.add_text(key, text, zip=packed)
    image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def xmp_jpeg(properties: str) -> bytes:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f"{properties}/></rdf:RDF></x:xmpmeta>"
    )
    file = io.BytesIO()
    GREY.save(file, "JPEG", xmp=packet.encode())
    return file.getvalue()


def hidden(text: bytes, *, packed: bool, alpha: bool = True, size: tuple[int, int] = (96, 80)) -> bytes:
    """Write a text as NovelAI does: down the columns, into the lowest bits."""
    mark = b"stealth_" + (b"png" if alpha else b"rgb") + (b"comp" if packed else b"info")
    data = gzip.compress(text) if packed else text
    bits = np.unpackbits(np.frombuffer(mark + (8 * len(data)).to_bytes(4, "big") + data, np.uint8))
    pixels = np.full((size[1], size[0], 4), 254, np.uint8)
    plane = pixels[:, :, 3:] if alpha else pixels[:, :, :3]
    flat = plane.transpose(1, 0, 2).reshape(-1)
    flat[: len(bits)] |= bits
    plane[:] = flat.reshape(size[0], size[1], -1).transpose(1, 0, 2)
    return png({}, Image.fromarray(pixels))


@pytest.mark.parametrize("file", GENERATED)
def test_what_was_missed_is_found(file):
    assert "generated" in said(CASES / file)


@pytest.mark.parametrize("file", SILENT)
def test_people_bear_the_names_of_programs(file):
    assert read_provenance(CASES / file) == ()


def test_no_part_of_a_word_is_a_program():
    [signal] = read_provenance(CASES / "untrue_8_Software.jpg")
    assert (signal.value, signal.says) == ("Illuminarium 2.1", "unknown")


@pytest.mark.parametrize("file", ["scanner.jpg", "multifunction.jpg"])
def test_what_digitises_paper_is_no_camera(file):
    [signal] = read_provenance(CASES / file)
    assert signal.says == "unknown"
    assert "camera" not in signal.sentence


@pytest.mark.parametrize(
    ("make", "model", "file_source", "camera"),
    [
        ("Canon", "Canon EOS R5", b"\3", True),
        ("HP", "PhotoSmart C850", None, True),
        ("SONY", "ILCE-7M4", None, True),
        ("NIKON", "LS-9000", b"\1", False),
        ("Canon", "CanoScan LiDE 220", None, False),
        ("Sony Interactive Entertainment", "PlayStation 5", None, False),
        ("NVIDIA", "Ansel", None, False),
        ("Epson", "PerfectionV800", None, False),
        ("Kodak", "Kodak i200", None, False),
        ("FUJI PHOTO FILM CO., LTD.", "SP-2500", None, False),
        ("Noritsu Koki", "QSS", None, False),
        ("Oce", "Oce 9400", None, False),
        ("Canon", "iR-ADV C3325", None, False),
        ("EPSON", "DS-530", None, False),
        ("KYOCERA", "FC-S3", None, True),
        ("SAMSUNG", "GT-S5830", None, True),
        ("EASTMAN KODAK COMPANY", "KODAK DX6490 ZOOM DIGITAL CAMERA", None, True),
    ],
)
def test_cameras_scanners_and_games(make, model, file_source, camera):
    inner = {0xA300: file_source} if file_source else {}
    assert ("camera" in said(exif_jpeg({0x010F: make, 0x0110: model}, inner))) is camera


@pytest.mark.parametrize(
    ("software", "says"),
    [
        ("AI generated;txt2img;flux", "generated"),
        ("AI generated;txt2img;qwen-image", "generated"),
        ("not ai generated", "unknown"),
        ("Luminar Neo", "edited"),
        ("Meitu", "edited"),
    ],
)
def test_software(software, says):
    assert said(exif_jpeg({0x0131: software})) == {says}


def test_a_text_of_exif_ends_at_its_first_zero():
    """What follows is left over from a longer text: Sony wrote "MAVICA" over another model's name."""
    file = exif_jpeg({0x010F: b"SONY\0", 0x0110: b"MAVICA\x003ghx7y\0", 0x0131: b"Adobe Photoshop 7.0\0Midjourney\0"})
    assert {(one.name, one.value, one.says) for one in read_provenance(file)} == {
        ("Make, Model", "SONY MAVICA", "camera"),
        ("Software", "Adobe Photoshop 7.0", "edited"),
    }


def test_a_program_without_a_name_is_none():
    assert read_provenance(exif_jpeg({0x0131: "\1\2 \x7f"})) == ()


@pytest.mark.parametrize("name", ["xmp:creatortool", "xmp:CREATORTOOL", "exif:Software"])
def test_properties_in_other_case_and_place(name):
    file = xmp_jpeg(f'xmlns:exif="http://ns.adobe.com/exif/1.0/" {name}="Midjourney"')
    assert said(file) == {"generated"}


@pytest.mark.parametrize(
    ("credit", "says"),
    [
        ("Made with Google AI", {"generated"}),
        ("Edited with Google AI", {"edited"}),
        ("Midjourney 7", {"generated"}),
        ("Grok Hansen / Agency", set()),
        ("Photo: Luminar Studios", set()),
    ],
)
def test_a_credit_names_a_program_only_where_it_names_nothing_else(credit, says):
    assert said(xmp_jpeg(f'photoshop:Credit="{credit}"')) == says


SETTINGS = ["Steps: 20", "Sampler: Euler a", "CFG scale: 6", "Seed: 42", "Size: 64x64"]


@pytest.mark.parametrize("turn", range(5))
def test_settings_in_any_order(turn):
    text = "a barn by Jane Roe\n" + ", ".join(SETTINGS[turn:] + SETTINGS[:turn])
    [signal] = read_provenance(png({"parameters": text}))
    assert signal.says == "generated"
    assert "Jane" not in signal.value


@pytest.mark.parametrize("text", ["Steps: 20 to the door. Seed: sunflower", "Size: large, Version: 2, Model: A"])
def test_prose_and_other_settings_are_none(text):
    assert read_provenance(png({"Comment": text})) == ()


@pytest.mark.parametrize("texts", [
    {"mold:parameters": "{}"},
    {"Comment": json.dumps({"prompt": "a barn", "seed": 1, "num_inference_steps": 4})},
    {"x": json.dumps({"a": json.dumps({"prompt": "a barn", "seed": 1, "steps": 4})})},
    {"prompt": "a barn", "seed": "1", "num_inference_steps": "4"},
    {"Dream": '"a barn" -s 50 -W512 -H512 -C7.5 -A k_lms -S 42'},
])  # fmt: skip
def test_settings_whoever_wrote_them(texts):
    assert said(png(texts)) == {"generated"}
    assert said(png(texts, packed=True)) == {"generated"}


@pytest.mark.parametrize(
    "texts", [{"Prompt": "Say cheese", "Seed": "none"}, {"x": json.dumps({"seed": 1, "steps": 2})}]
)
def test_fewer_settings_say_nothing(texts):
    assert "generated" not in said(png(texts))


@pytest.mark.parametrize("place", ["make", "comment", "png"])
def test_comfyui_behind_a_long_workflow(place):
    workflow = json.dumps({"notes": "x" * 400_000})
    prompt = json.dumps({"3": {"class_type": "KSampler", "inputs": {}}})
    if place == "make":
        exif, file = Image.Exif(), io.BytesIO()
        exif.update({0x010F: f"workflow:{workflow}", 0x0110: f"prompt:{prompt}"})
        GREY.save(file, "WEBP", exif=exif)
        data = file.getvalue()
    elif place == "comment":
        data = png({"workflow": workflow[:-1] + ', "class_type": "KSampler"}'})
    else:
        data = png({"workflow": workflow, "prompt": prompt})
    assert said(data) == {"generated"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("text", [b"a barn\nSteps: 20, Sampler: Euler a, Seed: 1", b'{"Software": "NovelAI"}'])
def test_text_in_the_lowest_bits(text, alpha, packed):
    [signal] = read_provenance(hidden(text, packed=packed, alpha=alpha))
    assert (signal.says, signal.name) == ("generated", "hidden")


def test_damage_in_the_lowest_bits_says_nothing():
    whole = hidden(b"Steps: 20, Sampler: Euler a, Seed: 1", packed=True)
    with Image.open(io.BytesIO(whole)) as image:
        pixels = np.array(image)
    pixels[:, 3:, 3] |= 1  # behind the mark
    assert read_provenance(png({}, Image.fromarray(pixels))) == ()


class TestContentCredentials:
    def test_an_edit_by_a_generator_of_a_photograph(self):
        signals = read_provenance(CASES / "c2pa_photo_genfill.jpg")
        assert "generated" not in {signal.says for signal in signals}
        assert "edited, or made in part, with a generative model" in str(summarise(signals))

    def test_agents_by_their_place(self):
        names = {signal.name: signal.value for signal in read_provenance(CASES / "c2pa_v2_agent_index.jpg")}
        assert names["softwareAgent"].startswith("Adobe Firefly")

    def test_a_watermark_is_no_edit(self):
        signals = {signal.name: signal for signal in read_provenance(CASES / "c2pa_watermark_unbound.jpg")}
        assert {signal.says for signal in signals.values()} == {"camera", "unknown"}
        assert "watermark" in signals["watermark"].sentence

    def test_gone(self):
        [signal] = read_provenance(CASES / "c2pa_stripped_self_jumbf.jpg")
        assert (signal.says, signal.sentence) == (
            "unknown", "Content Credentials were embedded in the file and are gone"
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "found"), [("https://example.org/a.c2pa", 1), ("the attic of my aunt", 0), ("Museum of Ghent", 0)]
    )
    def test_elsewhere_only_where_an_address_says_so(self, text, found):
        assert len(read_provenance(xmp_jpeg(f'dcterms:provenance="{text}"'))) == found


def test_a_declared_type_outranks_the_name_of_a_program():
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
    packet = f'xmp:CreatorTool="Adobe Firefly" Iptc4xmpExt:DigitalSourceType="{kind}"'
    signals = read_provenance(xmp_jpeg(packet))
    assert [signal.says for signal in signals] == ["edited", "edited"]
    assert not any("maker" in signal.sentence for signal in signals)
    made = read_provenance(xmp_jpeg(packet.replace("compositeWithTrained", "trained")))
    assert {signal.says for signal in made} == {"generated"}
