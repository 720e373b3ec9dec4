"""evidence/provenance: each container and field, what is not shown, hostile files; written by Pillow or by hand."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import unicodedata
import zlib

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, IptcImagePlugin, PngImagePlugin

from cinemae.errors import ConfigError
from cinemae.evidence.known_makers import SOURCE_TYPES, maker_in_name, maker_in_text
from cinemae.evidence.metadata_items import MAX_ITEM_BYTES, MAX_TOTAL_BYTES, read_items
from cinemae.evidence.provenance import MAX_SIGNALS, ProvenanceSignal, read_provenance, summarise
from cinemae.evidence.signals import MAX_VALUE_CHARS
from cinemae.evidence.xmp_properties import xmp_properties

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
A1111 = (
    "a red fox, by Jane Roe\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"
)
COMFY_PROMPT = json.dumps({"3": {"inputs": {"seed": 1, "text": "a fox by Jane Roe"}, "class_type": "KSampler"}})
COMFY_WORKFLOW = json.dumps(
    {"last_node_id": 9, "last_link_id": 9, "nodes": [{"id": 3, "type": "KSampler"}], "links": []}
)
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
UUID = "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"


def encode(format: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, format, **options)
    return file.getvalue()


def exif(tags: dict[int, object], inner: dict[int, object] | None = None) -> bytes:
    data = Image.Exif()
    data.update(tags)
    data.get_ifd(0x8769).update(inner or {})
    return data.tobytes()


def xmp(properties: str, attributes: str = "") -> bytes:
    return f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/"
xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"
xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
{attributes}>{properties}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>""".encode()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*chunks: bytes, at_end: bool = False) -> bytes:
    data = encode("PNG")
    place = len(data) - 12 if at_end else 33
    return data[:place] + b"".join(chunks) + data[place:]


def png_text(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key.replace("_and_", "-"), text)
    return encode("PNG", pnginfo=info)


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg_with(*segments: bytes) -> bytes:
    data = encode()
    return data[:2] + b"".join(segments) + data[2:]


def iim(*records: tuple[int, bytes]) -> bytes:
    data = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text for number, text in records)
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


def short(signals: tuple[ProvenanceSignal, ...]) -> list[tuple[str, str, str, str]]:
    return [(signal.source, signal.name, signal.value, signal.says) for signal in signals]


def only(data: bytes) -> ProvenanceSignal:
    signals = read_provenance(data)
    assert len(signals) == 1, signals
    return signals[0]


class TestExif:
    TAGS = exif({0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0131: "GIMP 2.10"})

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    def test_it_is_read_from_every_container(self, format, tmp_path):
        data = encode(format, exif=self.TAGS)
        expected = [
            ("exif", "Software", "GIMP 2.10", "edited"),
            ("exif", "Make, Model", "Canon EOS 5D", "camera"),
        ]
        assert short(read_provenance(data)) == expected
        path = tmp_path / "picture.bin"
        path.write_bytes(data)
        assert read_provenance(path) == read_provenance(str(path)) == read_provenance(data)

    def test_heif(self):
        file = io.BytesIO()
        pillow_heif.from_pillow(PICTURE).save(
            file, exif=self.TAGS, xmp=xmp("<xmp:CreatorTool>ComfyUI</xmp:CreatorTool>")
        )
        assert [signal.says for signal in read_provenance(file.getvalue())] == ["edited", "generated", "camera"]

    @pytest.mark.parametrize("order", ["II", "MM"])
    def test_both_byte_orders(self, order):
        pack = {"II": "<", "MM": ">"}[order]
        entry = struct.pack(f"{pack}HHII", 0x0131, 2, 14, 26)
        mark = struct.pack(f"{pack}H", 42)
        data = (
            order.encode()
            + mark
            + struct.pack(f"{pack}IH", 8, 1)
            + entry
            + struct.pack(f"{pack}I", 0)
            + b"Midjourney v6\0"
        )
        assert short(read_provenance(jpeg_with(segment(0xE1, b"Exif\0\0" + data)))) == [
            ("exif", "Software", "Midjourney v6", "generated")
        ]

    @pytest.mark.parametrize(
        ("comment", "encoding"),
        [("UNICODE\0", "utf-16-be"), ("UNICODE\0", "utf-16-le"), ("ASCII\0\0\0", "ascii"), ("\0" * 8, "ascii")],
    )
    def test_settings_of_a_generator_in_the_user_comment(self, comment, encoding):
        data = encode(exif=exif({}, {0x9286: comment.encode() + A1111.encode(encoding)}))
        signal = only(data)
        assert (signal.name, signal.says) == ("UserComment", "generated")
        assert signal.value == "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"
        assert (
            signal.sentence
            == "the file names Stable Diffusion web UI as its maker (EXIF UserComment; anyone can write that)"
        )

    def test_comfyui_hides_its_graphs_in_make_and_model(self):
        data = encode("WEBP", exif=exif({0x0110: f"prompt:{COMFY_PROMPT}", 0x010F: f"workflow:{COMFY_WORKFLOW}"}))
        assert short(read_provenance(data)) == [("exif", "Make", '"last_node_id": 9', "generated")]

    def test_xai_signs_with_a_description_and_an_artist(self):
        signature = "Signature: " + "QUJD" * 20
        signal = only(encode(exif=exif({0x010E: signature, 0x013B: UUID})))
        assert signal.sentence == "the file names xAI Grok as its maker (EXIF ImageDescription; anyone can write that)"
        assert read_provenance(encode(exif=exif({0x010E: signature, 0x013B: "Jane Roe"}))) == ()

    def test_an_unknown_program_is_named_but_says_nothing(self):
        signals = read_provenance(encode(exif=exif({0x0131: "HDR+ 1.0.54"})))
        assert short(signals) == [("exif", "Software", "HDR+ 1.0.54", "unknown")]
        assert signals[0].sentence == 'the file names the program "HDR+ 1.0.54" (EXIF Software; anyone can write that)'
        assert summarise(signals) is None

    @pytest.mark.parametrize(
        ("make", "model", "name"),
        [("NIKON", "D850", "NIKON D850"), ("Google", "Google Pixel 8", "Google Pixel 8"), ("", "X-T5", "X-T5")],
    )
    def test_cameras(self, make, model, name):
        signal = only(encode(exif=exif({0x010F: make, 0x0110: model})))
        assert signal.sentence == f"the file names the camera {name} (EXIF Make and Model; anyone can write that)"
        assert signal.to_dict() == {
            "source": "exif",
            "name": "Make, Model",
            "value": name,
            "says": "camera",
            "verified": None,
            "sentence": signal.sentence,
        }

    def test_names_places_and_captions_are_not_shown(self):
        tags = exif(
            {0x013B: "Jane Roe", 0x8298: "(c) Jane Roe", 0x010E: "Midjourney's office", 0x0132: "2024:01:01 00:00:00"},
            {0x9286: b"ASCII\0\0\0Jane at home", 0xA430: "Jane Roe", 0xA431: "12345"},
        )
        loaded = Image.Exif()
        loaded.load(tags)
        loaded.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.0)})
        data = jpeg_with(
            segment(0xE1, b"Exif\0\0" + loaded.tobytes().removeprefix(b"Exif\0\0")),
            segment(0xED, b"Photoshop 3.0\0" + iim((80, b"Jane Roe"), (110, b"Jane Roe/Reuters"))),
            segment(0xFE, b"Jane at Midjourney"),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp("<photoshop:Credit>Jane Roe</photoshop:Credit>")),
        )
        assert Image.open(io.BytesIO(data)).getexif().get_ifd(0x8825)[1] == "N"
        assert read_provenance(data) == ()
        prompts = [encode(exif=exif({}, {0x9286: b"ASCII\0\0\0" + A1111.encode()})), png_text(parameters=A1111)]
        prompts += [
            png_text(prompt=COMFY_PROMPT, workflow=COMFY_WORKFLOW),
            png_text(Author="Jane Roe", Software="NovelAI"),
        ]
        for prompt in prompts:
            assert "generated" in [signal.says for signal in read_provenance(prompt)]
            assert "Jane" not in json.dumps([signal.to_dict() for signal in read_provenance(prompt)])


class TestXmpAndIptc:
    PACKET = xmp(f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>")
    SENTENCE = (
        'the file says that it was made by a generative model (IPTC DigitalSourceType "trainedAlgorithmicMedia"; '
        "anyone can write that)"
    )

    def test_jpeg_webp_avif_tiff_and_png(self):
        files = [encode(format, xmp=self.PACKET) for format in ("JPEG", "WEBP", "AVIF")]
        files.append(encode("TIFF", tiffinfo={700: self.PACKET}))
        for flag, data in (b"\0\0", self.PACKET), (b"\1\0", zlib.compress(self.PACKET)):
            files.append(png_with(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0" + flag + b"\0\0" + data)))
        for data in files:
            signal = only(data)
            assert short((signal,)) == [("iptc", "DigitalSourceType", "trainedAlgorithmicMedia", "generated")]
            assert signal.sentence == self.SENTENCE

    def test_gif(self):
        trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
        data = encode("GIF")
        header = 13 + 3 * 2 ** ((data[10] & 7) + 1)
        extension = b"\x21\xff\x0bXMP DataXMP" + self.PACKET + trailer
        comment = b"\x21\xfe\x0dmade: ComfyUI\0"
        signal = only(data[:header] + comment + extension + data[header:])
        Image.open(io.BytesIO(data[:header] + comment + extension + data[header:])).load()  # a GIF still
        assert signal.sentence == self.SENTENCE

    @pytest.mark.parametrize(
        "properties",
        [
            '<Iptc4xmpExt:DigitalSourceType rdf:resource="{0}"/>',
            "<Iptc4xmpExt:DigitalSourceType><rdf:Bag><rdf:li>{0}</rdf:li></rdf:Bag></Iptc4xmpExt:DigitalSourceType>",
            "<Iptc4xmpExt:DigitalSourceType>\n  {0}\n</Iptc4xmpExt:DigitalSourceType>",
        ],
    )
    def test_however_rdf_writes_it(self, properties):
        packet = xmp(properties.format(f"{SOURCE_TYPE}digitalCapture"))
        assert xmp_properties(packet) == [("DigitalSourceType", f"{SOURCE_TYPE}digitalCapture")]
        as_attribute = xmp("", f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}digitalCapture"')
        assert xmp_properties(as_attribute) == xmp_properties(packet)

    @pytest.mark.parametrize(("code", "says"), [(code, says) for code, (says, _) in SOURCE_TYPES.items()])
    def test_every_source_type(self, code, says):
        signal = only(encode(xmp=xmp("", f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}{code}"')))
        assert (signal.value, signal.says) == (code, says)

    def test_a_source_type_of_later_years(self):
        signal = only(encode(xmp=xmp("", 'Iptc4xmpExt:DigitalSourceType="digsrctype:dreamt"')))
        assert (signal.value, signal.says) == ("dreamt", "unknown")

    def test_other_properties(self):
        packet = xmp(
            "<xmpMM:History><rdf:Seq><rdf:li stEvt:softwareAgent='Adobe Photoshop 25.1'/></rdf:Seq></xmpMM:History>"
            "<photoshop:Credit>Made with Google AI</photoshop:Credit>"
            f"<dc:description><rdf:Alt><rdf:li xml:lang='x-default'>{A1111}</rdf:li></rdf:Alt></dc:description>"
            '<TC260:AIGC>{"Label":"1","ContentProducer":"Jane Roe"}</TC260:AIGC>'
            "<Iptc4xmpExt:AISystemUsed>Pixie 3</Iptc4xmpExt:AISystemUsed>",
            'xmp:CreatorTool="Draw Things" tiff:Software="Snapseed 2.0"',
        )
        assert sorted(short(read_provenance(encode(xmp=packet)))) == [
            ("iptc", "AISystemUsed", "Pixie 3", "generated"),
            ("xmp", "AIGC", "Label 1", "generated"),
            ("xmp", "CreatorTool", "Draw Things", "generated"),
            ("xmp", "Credit", "Google AI", "generated"),
            ("xmp", "Software", "Snapseed 2.0", "edited"),
            ("xmp", "description", "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512", "generated"),
            ("xmp", "softwareAgent", "Adobe Photoshop 25.1", "edited"),
        ]

    def test_a_doubtful_label_says_nothing(self):
        signal = only(encode(xmp=xmp('<TC260:AIGC>{"Label":"3"}</TC260:AIGC>')))
        assert signal.says == "unknown"
        assert signal.sentence == (
            "the file carries China's label that it is suspected to be generated (XMP AIGC; anyone can write that)"
        )

    def test_credentials_kept_elsewhere(self):
        signals = read_provenance(encode(xmp=xmp("", 'dcterms:provenance="https://a.example/m.c2pa"')))
        assert short(signals) == [("c2pa", "remote manifest", "https://a.example/m.c2pa", "unknown")]
        assert summarise(signals) == "the file refers to Content Credentials kept elsewhere, which are not fetched"

    def test_iptc_records_as_pillow_reads_them(self):
        resources = b"8BIM\x0b\xb7\x05quiet" + b"\0\0\0\3abc\0" + iim((65, b"DALL-E"), (110, b"Made with Google AI"))
        data = jpeg_with(segment(0xED, b"Photoshop 3.0\0" + resources))
        reference = IptcImagePlugin.getiptcinfo(Image.open(io.BytesIO(data)))
        assert reference == {(2, 65): b"DALL-E", (2, 110): b"Made with Google AI"}
        assert short(read_provenance(data)) == [
            ("iptc", "OriginatingProgram", "DALL-E", "generated"),
            ("iptc", "Credit", "Google AI", "generated"),
        ]
        records = iim((65, b"Picasa"))[12:]
        for tag, value in (33723, records), (34377, iim((65, b"Picasa"))):
            assert short(read_provenance(encode("TIFF", tiffinfo={tag: value}))) == [
                ("iptc", "OriginatingProgram", "Picasa", "unknown")
            ]


class TestTexts:
    def test_the_settings_of_automatic1111(self):
        signals = read_provenance(png_text(parameters=A1111))
        assert summarise(signals) == (
            'the file names Stable Diffusion web UI as its maker (PNG text "parameters"; anyone can write that)'
        )

    def test_comfyui(self):
        assert short(read_provenance(png_text(prompt=COMFY_PROMPT, workflow=COMFY_WORKFLOW))) == [
            ("png_text", "prompt", '"class_type": "KSampler"', "generated"),
            ("png_text", "workflow", '"last_node_id": 9', "generated"),
        ]
        assert read_provenance(png_text(prompt="a fox", workflow="draw, then scan")) == ()

    def test_keys_of_other_places_count_for_nothing(self):
        assert read_provenance(png_text(provenance="Louvre", DigitalSourceType="a", AISystemUsed="b", Make="c")) == ()

    @pytest.mark.parametrize(
        ("texts", "maker"),
        [
            ({"invokeai_metadata": "{}"}, "InvokeAI"),
            ({"sd_and_metadata": "{}"}, "InvokeAI"),
            ({"Dream": '"a fox" -s 50 -S 3838 -W 512 -H 512 -C 7.5 -A k_lms'}, "InvokeAI"),
            ({"Software": "NovelAI"}, "NovelAI"),
            ({"Comment": '{"steps": 28, "uncond_scale": 1.0, "uc": "lowres"}'}, "NovelAI"),
            ({"Source": "Stable Diffusion 1D44365E"}, "Stable Diffusion"),
            ({"parameters": '{"sui_image_params": {"prompt": "fox"}}'}, "SwarmUI"),
            ({"fooocus_scheme": "fooocus"}, "Fooocus"),
            ({"use_stable_diffusion_model": "sd-v1-4"}, "Easy Diffusion"),
            ({"Description": f"a fox --v 6.0 Job ID: {UUID}", "Author": "Jane Roe"}, "Midjourney"),
        ],
    )
    def test_other_generators(self, texts, maker):
        signal = only(png_text(**texts))
        key = next(iter(texts)).replace("_and_", "-")
        assert signal.sentence == f'the file names {maker} as its maker (PNG text "{key}"; anyone can write that)'

    def test_every_kind_of_chunk_before_and_after_the_pixels(self):
        texts = [
            png_chunk(b"tEXt", b"parameters\0" + A1111.encode()),
            png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(A1111.encode())),
            png_chunk(b"iTXt", b"parameters\0\0\0en\0w\0" + A1111.encode()),
            png_chunk(b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(A1111.encode())),
        ]
        for chunk in texts:
            for at_end in (False, True):
                assert only(png_with(chunk, at_end=at_end)).value.startswith("Steps: 20")

    def test_comments_of_jpeg_and_gif(self):
        for format in "JPEG", "GIF":
            signal = only(encode(format, comment=A1111.encode()))
            assert (
                signal.sentence
                == "the file names Stable Diffusion web UI as its maker (comment; anyone can write that)"
            )

    def test_a_file_may_say_two_things(self):
        tags = exif({0x010F: "Canon", 0x0110: "EOS R5", 0x0131: "Adobe Lightroom 7"})
        assert summarise(read_provenance(encode(exif=tags))) == (
            "the file names Adobe Lightroom, an editor (EXIF Software; anyone can write that)"
        )
        assert summarise(read_provenance(encode(exif=tags, comment=A1111.encode()))) == (
            "the file names Stable Diffusion web UI as its maker (comment; anyone can write that); yet "
            "the file names the camera Canon EOS R5 (EXIF Make and Model; anyone can write that)"
        )

    def test_words_that_only_look_like_a_generator(self):
        for text in (
            "Editor de imagen",
            "Gemini Photo Viewer",
            "f.lux 4",
            "Firefly III scanner",
            "Dallas Editor",
            "Soral",
        ):
            assert maker_in_name(text) is None
        for text in ("made in Midjourney", "Steps: 3 and 4", "Job ID: 12345", "class_type", "my -s 5 flag"):
            assert maker_in_text(text) is None


class TestValues:
    def test_control_characters_do_not_reach_a_terminal(self):
        signal = only(png_text(Software="\x1b[31mred\x07\u202eevil\u2028line\0" + "x" * 500))
        assert signal.value.startswith("[31mred evil line x")
        assert len(signal.value) == MAX_VALUE_CHARS
        assert not [char for char in signal.sentence if unicodedata.category(char).startswith(("C", "Zl", "Zp"))]

    def test_text_that_is_not_utf_8(self):
        chunk = png_chunk(b"tEXt", b"Software\0Caf\xe9")
        assert only(png_with(chunk)).value == "Café"

    def test_the_same_twice_is_told_once(self):
        chunk = png_chunk(b"tEXt", b"Software\0NovelAI")
        assert len(read_provenance(png_with(chunk, chunk))) == 1

    def test_not_more_than_a_screenful(self):
        chunks = [png_chunk(b"tEXt", b"Software\0Program %d" % number) for number in range(200)]
        assert len(read_provenance(png_with(*chunks))) == MAX_SIGNALS

    def test_nothing_to_tell(self, tmp_path):
        for format in "JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF":
            assert read_provenance(encode(format)) == ()
        assert summarise(()) is None

    def test_trust_anchors_must_be_certificates(self):
        with pytest.raises(ConfigError) as refused:
            read_provenance(b"", trust_anchors="anchors.pem")
        assert str(refused.value) == (
            "trust anchors are PEM certificates ('-----BEGIN CERTIFICATE-----'): give the text of such a file."
        )


def bomb() -> bytes:
    """A billion laughs, as XMP."""
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]>'.encode() + xmp("<xmp:CreatorTool>&a9;</xmp:CreatorTool>")


class TestHostileFiles:
    def test_files_that_are_none(self, tmp_path):
        (tmp_path / "empty.jpg").touch()
        for source in (
            b"",
            b"\xff",
            b"\xff\xd8\xff",
            b"GIF89a",
            b"II*\0",
            tmp_path,
            tmp_path / "no.jpg",
            "a\0b",
            "\ud800",
        ):
            assert read_provenance(source) == ()
        assert read_provenance(tmp_path / "empty.jpg") == ()

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        assert read_provenance(tmp_path / "pipe.jpg") == ()

    def test_entities_are_not_expanded(self):
        assert xmp_properties(bomb()) == []
        assert read_provenance(encode(xmp=bomb())) == ()

    def test_xmp_that_breaks_off_gives_what_came_before(self):
        packet = xmp("<dc:description>", 'xmp:CreatorTool="ComfyUI"')[:-70]
        assert xmp_properties(packet) == [("CreatorTool", "ComfyUI")]
        assert xmp_properties(b"\xff\xfe<\0") == xmp_properties(b"") == xmp_properties(b"<a>" * 40_000) == []

    def test_packed_text_is_unpacked_only_so_far(self):
        packed = zlib.compress(b"Midjourney " * 1_000_000)
        items = read_items(png_with(*[png_chunk(b"zTXt", b"Software\0\0" + packed)] * 100))
        assert {len(item.data) for item in items} == {MAX_ITEM_BYTES}
        assert sum(len(item.data) for item in items) <= MAX_TOTAL_BYTES

    def test_tags_that_point_at_the_same_data(self):
        entry = struct.pack(">HHII", 0x0131, 2, 2**32 - 1, 0)
        data = b"MM\0*" + struct.pack(">IH", 8, 1000) + entry * 1000 + b"a" * 50_000
        items = read_items(jpeg_with(*[segment(0xE1, b"Exif\0\0" + data)] * 20))
        assert 10 < len(items) < 1000
        assert sum(len(item.data) for item in items) <= MAX_TOTAL_BYTES

    def test_directories_that_point_at_themselves(self):
        entries = struct.pack(">HHII", 0x8769, 4, 1, 8) + struct.pack(">HHII", 0x0131, 2, 4, 0x47494D50)
        data = b"MM\0*" + struct.pack(">IH", 8, 2) + entries
        assert short(read_provenance(data)) == [("exif", "Software", "GIMP", "edited")]

    def test_damage_in_one_part_leaves_the_others(self):
        broken = segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")
        resources = segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04")
        data = jpeg_with(broken, resources, segment(0xFE, A1111.encode()))
        assert only(data).source == "comment"
        bad = png_chunk(b"zTXt", b"parameters\0\0not zlib"), png_chunk(b"eXIf", b"MM"), png_chunk(b"tEXt", b"")
        assert only(png_with(*bad, png_chunk(b"tEXt", b"Software\0NovelAI"))).value == "NovelAI"

    def test_deep_json_is_not_parsed(self):
        assert only(png_text(prompt="[" * 100_000, workflow=COMFY_WORKFLOW)).name == "workflow"

    def test_fill_bytes_in_a_jpeg(self):
        data = encode(comment=A1111.encode())
        assert only(data[:2] + b"\xff" * 50 + data[2:]).source == "comment"
        assert read_provenance(data[:2] + b"\xff" * 100_000 + data[2:]) == ()


def corpus() -> list[bytes]:
    tags = exif({0x010F: "Canon", 0x0110: "EOS", 0x0131: "GIMP"}, {0x9286: b"ASCII\0\0\0" + A1111.encode()})
    packet = xmp(
        "<xmp:CreatorTool>Draw Things</xmp:CreatorTool>", f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}print"'
    )
    files = [encode(format, exif=tags, xmp=packet) for format in ("JPEG", "WEBP", "AVIF")]
    files.append(jpeg_with(segment(0xED, b"Photoshop 3.0\0" + iim((65, b"a"), (110, b"b"))), segment(0xFE, b"c")))
    files.append(encode("TIFF", exif=tags, tiffinfo={700: packet, 33723: iim((65, b"a"))[12:]}))
    files.append(
        png_with(png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(A1111.encode())), png_chunk(b"eXIf", tags[6:]))
    )
    files.append(png_with(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)))
    files.append(encode("GIF", comment=A1111.encode()))
    return files


CORPUS = corpus()


@settings(max_examples=200)
@given(
    number=st.integers(0, len(CORPUS) - 1),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255), st.booleans()), max_size=8),
    end=st.floats(0.01, 1),
)
def test_damaged_files_never_raise(number, edits, end):
    data = bytearray(CORPUS[number])
    for place, value, near_the_front in edits:
        data[int(place * (min(len(data), 600) if near_the_front else len(data)) * 0.999)] = value
    for signal in read_provenance(bytes(data[: int(len(data) * end) + 1])):
        assert signal.says in ("generated", "edited", "camera", "unknown")
        assert len(signal.value) <= MAX_VALUE_CHARS
        assert signal.sentence.isprintable()


@settings(max_examples=200)
@given(
    head=st.sampled_from(
        [b"\xff\xd8\xff\xe1", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"MM\0*", b"\0\0\0\x10ftypavif"]
    ),
    tail=st.binary(max_size=400),
)
def test_noise_after_a_signature_never_raises(head, tail):
    assert isinstance(read_provenance(head + tail), tuple)


def test_the_light_install_needs_nothing_more():
    code = (
        "import sys; from cinemae.evidence.provenance import read_provenance; read_provenance(b'');"
        "print([name for name in ('c2pa', 'cryptography', 'torch', 'pyarrow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
