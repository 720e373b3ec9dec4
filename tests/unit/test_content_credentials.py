"""data/content_credentials and its signals: files signed here with certificates made here, and tampered with."""

from __future__ import annotations

import dataclasses
import datetime
import http.server
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cinemae.errors import ConfigError, ImageError, MissingDependencyError
from cinemae.evidence.content_credentials import read_credentials
from cinemae.evidence.provenance import read_provenance, summarise

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)
UNTRUSTED = "signature and file match, but no trust list given vouches for the signer"


@dataclass(frozen=True)
class Identity:
    """A certificate below a root of its own, and its key, all in PEM."""

    chain: str
    key: str
    root: str


def certificate(
    subject: x509.Name, issuer: x509.Name, key, issuer_key, *extensions, end=NOW + 30 * DAY
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), NOW - DAY, NOW + 30 * DAY
    )
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
    )
    for extension in extensions:
        builder = builder.add_extension(
            extension, critical=isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
        )
    return builder.sign(issuer_key, hashes.SHA256())


def name(organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Jane Roe"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
        ]
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    others = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **others,
    )


def identity(
    organisation: str = "Pixie Works", *, revocation: str = "", end: datetime.datetime = NOW + 30 * DAY
) -> Identity:
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certificate(
        name("Root"),
        name("Root"),
        root_key,
        root_key,
        x509.BasicConstraints(True, None),
        key_usage(signs_certificates=True),
    )
    extensions = [
        x509.BasicConstraints(False, None),
        key_usage(signs_certificates=False),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]),
    ]
    if revocation:
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(revocation))
        extensions.append(x509.AuthorityInformationAccess([access]))
    leaf = certificate(name(organisation), root.subject, key, root_key, *extensions)
    pem = [entry.public_bytes(serialization.Encoding.PEM).decode() for entry in (leaf, root)]
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity("".join(pem), secret.decode(), pem[1])


PIXIE = identity()


def encode(format: str) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, format)
    return file.getvalue()


def created(kind: str = "trainedAlgorithmicMedia", agent: object = "Pixie 3") -> dict[str, object]:
    return {"action": "c2pa.created", "softwareAgent": agent, "digitalSourceType": SOURCE_TYPE + kind}


def sign(
    data: bytes,
    mime: str = "image/jpeg",
    *,
    by: Identity = PIXIE,
    actions: list[dict[str, object]] | None = None,
    generator: str = "Pixie Studio",
    prepare: Callable[[c2pa.Builder], object] = lambda builder: None,
) -> bytes:
    manifest = {
        "claim_generator_info": [{"name": generator, "version": "2.1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions or [created()]}}],
    }
    offline = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
    signed = io.BytesIO()
    info = c2pa.C2paSignerInfo("es256", by.chain.encode(), by.key.encode(), None)
    with (
        c2pa.Context.from_dict(offline) as context,
        c2pa.Builder(json.dumps(manifest), context=context) as builder,
        c2pa.Signer.from_info(info) as signer,
    ):
        prepare(builder)
        builder.sign(signer, mime, io.BytesIO(data), signed)
    return signed.getvalue()


SIGNED = sign(encode("JPEG"))


def tamper(data: bytes, text: bytes, other: bytes) -> bytes:
    assert data.count(text) == 1
    assert len(text) == len(other)
    return data.replace(text, other)


def with_another_pixel(data: bytes) -> bytes:
    return data[:-200] + bytes([data[-200] ^ 1]) + data[-199:]


def told(data: bytes, **options) -> list[tuple[str, str, str, bool | None]]:
    signals = read_provenance(data, **options)
    assert {signal.source for signal in signals} <= {"c2pa"}
    return [(signal.name, signal.value, signal.says, signal.verified) for signal in signals]


class TestWhatIsTold:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF"])
    def test_every_container(self, format, tmp_path):
        data = sign(encode(format), f"image/{format.lower()}")
        assert told(data) == [
            ("digitalSourceType", "trainedAlgorithmicMedia", "generated", None),
            ("softwareAgent", "Pixie 3", "unknown", None),
            ("claim_generator", "Pixie Studio 2.1", "unknown", None),
            ("validation", "valid, but the signer is on no trust list given", "unknown", None),
        ]
        path = tmp_path / "wrong name.txt"
        path.write_bytes(data)
        assert read_provenance(path) == read_provenance(str(path)) == read_provenance(data)

    def test_a_signer_nobody_vouches_for(self):
        assert summarise(read_provenance(SIGNED)) == (
            "Content Credentials signed in the name of Pixie Works say that the picture was made by a generative model "
            f"({UNTRUSTED})"
        )
        other = identity("Pixie Works").root
        assert told(SIGNED, trust_anchors=other) == told(SIGNED)

    def test_a_signer_on_the_trust_list(self):
        signals = read_provenance(SIGNED, trust_anchors=identity().root + PIXIE.root)
        assert {signal.verified for signal in signals} == {True}
        assert summarise(signals) == (
            "Content Credentials signed by Pixie Works say that the picture was made by a generative model "
            "(signature and file match, and the signer is on the trust list given)"
        )

    @pytest.mark.parametrize(
        ("spoil", "code", "words"),
        [
            (with_another_pixel, "assertion.dataHash.mismatch", "the file was changed after it was signed"),
            (
                lambda data: tamper(data, b"trainedAlgorithmicMedia", b"trainedAlgorithmicDatum"),
                "assertion.hashedURI.mismatch",
                "a statement was changed after it was signed",
            ),
            (
                lambda data: tamper(data, b"Pixie Studio", b"Canon Camera"),
                "claimSignature.mismatch",
                "the signature is wrong",
            ),
        ],
    )
    def test_a_file_tampered_with(self, spoil, code, words):
        signals = read_provenance(spoil(SIGNED), trust_anchors=PIXIE.root)
        assert {signal.verified for signal in signals} == {False}
        assert code in signals[-1].value
        assert words in signals[-1].sentence
        assert signals[-1].sentence.startswith(
            "Content Credentials in the name of Pixie Works are embedded (but they do not hold: "
        )

    def test_a_certificate_that_had_run_out(self, monkeypatch):
        """The builder refuses to sign with one, so the finding is put in its place."""
        found = dataclasses.replace(
            read_credentials(SIGNED), state="invalid", problems=("signingCredential.expired", "a.code.of.later.years")
        )
        monkeypatch.setattr("cinemae.evidence.provenance.read_credentials", lambda source, trust_anchors: found)
        assert told(SIGNED)[-1] == (
            "validation",
            "invalid: signingCredential.expired, a.code.of.later.years",
            "unknown",
            False,
        )
        assert read_provenance(SIGNED)[-1].sentence == (
            "Content Credentials in the name of Pixie Works are embedded "
            "(but they do not hold: the certificate had expired and a.code.of.later.years)"
        )

    def test_a_photograph_against_what_anyone_can_write(self):
        file = io.BytesIO()
        PICTURE.save(file, "JPEG", comment="Steps: 20, Sampler: Euler a, Seed: 5")
        data = sign(file.getvalue(), actions=[created("digitalCapture", {"name": "Camera", "version": "1"})])
        assert summarise(read_provenance(data, trust_anchors=PIXIE.root)) == (
            "Content Credentials signed by Pixie Works say that the picture was taken with a digital camera "
            "(signature and file match, and the signer is on the trust list given); yet "
            "the file names Stable Diffusion web UI as its maker (comment; anyone can write that)"
        )

    def test_trust_anchors_that_cannot_be_read(self):
        with pytest.raises(ConfigError) as refused:
            read_provenance(SIGNED, trust_anchors="-----BEGIN CERTIFICATE-----\nhello\n-----END CERTIFICATE-----\n")
        assert str(refused.value).startswith(
            "trust anchors must be PEM certificates that c2pa-python can read (Signature"
        )

    def test_signed_edits_of_what_says_it_is_generated(self):
        file = io.BytesIO()
        PICTURE.save(file, "JPEG", comment="Steps: 20, Sampler: Euler a, Seed: 5")
        data = sign(file.getvalue(), actions=[created("humanEdits")])
        summary = summarise(read_provenance(data, trust_anchors=PIXIE.root)) or ""
        assert summary.startswith("Content Credentials signed by Pixie Works say that the picture was edited by hand (")
        assert "; yet the file names Stable Diffusion web UI as its maker (comment" in summary

    def test_known_makers_and_changes(self):
        actions = [
            created(agent={"name": "GPT-4o"}),
            {"action": "c2pa.color_adjustments"},
            {"action": "c2pa.converted"},
        ]
        assert told(sign(encode("JPEG"), actions=actions, generator="Adobe Photoshop"))[1:4] == [
            ("softwareAgent", "GPT-4o", "generated", None),
            ("claim_generator", "Adobe Photoshop 2.1", "edited", None),
            ("actions", "c2pa.created, c2pa.color_adjustments, c2pa.converted", "edited", None),
        ]

    def test_the_picture_it_was_made_from_counts_and_an_element_put_into_it_does_not(self):
        def ingredient(relationship: str) -> Callable[[c2pa.Builder], object]:
            entry = json.dumps({"title": "before", "relationship": relationship})
            return lambda builder: builder.add_ingredient(entry, "image/jpeg", io.BytesIO(SIGNED))

        opened = [{"action": "c2pa.opened"}]
        later = sign(encode("JPEG"), actions=opened, generator="Later", prepare=ingredient("parentOf"))
        credentials = read_credentials(later)
        assert credentials.source_types == ("trainedAlgorithmicMedia",)
        assert credentials.generators == ("Later 2.1", "Pixie Studio 2.1")
        assert credentials.actions == ("c2pa.opened", "c2pa.created")
        collage = sign(
            encode("JPEG"), actions=[created("composite")], generator="Later", prepare=ingredient("componentOf")
        )
        assert read_credentials(collage).source_types == ("composite",)
        assert read_credentials(collage).generators == ("Later 2.1",)


class TestWithout:
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF"])
    def test_the_extra_not_installed(self, format, monkeypatch):
        data = sign(encode(format), f"image/{format.lower()}")
        monkeypatch.setitem(sys.modules, "c2pa", None)
        assert told(data) == [("manifest", "present", "unknown", None)]
        assert summarise(read_provenance(data)) == (
            "Content Credentials are present; install 'cinemae[c2pa]' to check them"
        )
        with pytest.raises(MissingDependencyError) as refused:
            read_credentials(data)
        assert str(refused.value).endswith("run `pip install 'cinemae[c2pa]'`.")

    def test_none_in_the_file(self):
        with pytest.raises(ImageError) as refused:
            read_credentials(encode("JPEG"))
        assert str(refused.value).startswith("Content Credentials must be whole to be read (ManifestNotFound")

    def test_damaged_past_reading(self):
        data = tamper(SIGNED, b"claim_generator_info", b"claim_generator_inf_")
        assert told(data) == [("manifest", "unreadable", "unknown", None)]
        assert summarise(read_provenance(data)) == "Content Credentials are present, but too damaged to be read"

    @settings(max_examples=100)
    @given(edits=st.lists(st.tuples(st.integers(0, 3200), st.integers(0, 255)), min_size=1, max_size=4))
    def test_damage_never_raises_and_never_verifies(self, edits):
        data = bytearray(SIGNED)
        for place, value in edits:
            data[place] = value
        signals = read_provenance(bytes(data), trust_anchors=PIXIE.root)
        if signals and signals[0].verified:  # the edits fell into padding, or wrote what was there
            assert [signal.value for signal in signals] == [
                signal.value for signal in read_provenance(SIGNED, trust_anchors=PIXIE.root)
            ]


@dataclass
class Server:
    """Counts who calls."""

    address: str
    calls: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.calls.append(self.path)
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        state = Server(f"http://127.0.0.1:{running.server_port}")
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        running.shutdown()
        thread.join()


class TestNothingIsFetched:
    """Each beside c2pa-python with other settings, which does call: a test that could not fail would say nothing."""

    def test_a_manifest_kept_elsewhere(self, server):
        def prepare(builder: c2pa.Builder) -> None:
            builder.set_remote_url(f"{server.address}/manifest.c2pa")
            builder.set_no_embed()

        data = sign(encode("JPEG"), prepare=prepare)
        assert told(data) == [("remote manifest", f"{server.address}/manifest.c2pa", "unknown", None)]
        with pytest.raises(ImageError, match="must fetch remote manifests"):
            read_credentials(data)
        assert server.calls == []
        with c2pa.Context() as context, pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(data), context=context)
        assert server.calls == ["/manifest.c2pa"]

    def test_revocation_of_the_certificate(self, server):
        signer = identity(revocation=f"{server.address}/ocsp")
        data = sign(encode("JPEG"), by=signer)
        assert read_credentials(data, signer.root).state == "trusted"
        assert server.calls == []
        fetching = {"verify": {"ocsp_fetch": True}, "trust": {"trust_anchors": signer.root}}
        with c2pa.Context.from_dict(fetching) as context, c2pa.Reader("image/jpeg", io.BytesIO(data), context=context):
            assert len(server.calls) == 1
