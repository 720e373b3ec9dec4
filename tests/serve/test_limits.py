"""Hostile and clumsy requests over real sockets: each is answered 4xx or cut off, and the service goes on."""

from __future__ import annotations

import re
import resource
import socket
import struct
import threading
import time
import zlib

import pytest
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

from cinemae.app.serve.protocol import GuardedProtocol
from cinemae.detect.detector import Detector

LIMITS = {"max_bytes": 2**20, "max_pixels": 100_000, "max_files": 4, "queue": 8, "timeout": 5.0}


@pytest.fixture(scope="module")
def server(in_thread):
    with in_thread(**LIMITS) as server:
        yield server
        assert server.ask("GET", "/readyz").status == 200
        assert server.service.budget.used == 0
        assert server.service.batcher.pending == 0


@pytest.fixture(scope="module")
def good(picture, tools):
    return tools.encode(picture(1))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, *chunks):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(megabytes):
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()


IMAGE = chunk(b"IDAT", zlib.compress(bytes(11 * 10)))  # of 10x10 grey pixels
BOMBS = {
    "decompression bomb": png(60_000, 60_000, chunk(b"IDAT", zeros(100))),
    "more pixels than allowed": png(400, 400, chunk(b"IDAT", zlib.compress(bytes(401 * 400)))),
    "a header of no pixels": png(0, 10, IMAGE),
    "a chunk longer than the file": png(10, 10)[:-12] + struct.pack(">I", 2**31 - 1) + b"IDATx",
    "a GIF that lies": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b";",
    "a BMP that lies": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
    "a TIFF that lies": b"II*\0\x08\0\0\0\x02\0\0\1\4\0\1\0\0\0\xff\xff\0\0\1\1\4\0\1\0\0\0\xff\xff\0\0\0\0\0\0",
    "a page": b"<!DOCTYPE html><script>alert(1)</script>",
    "a program": b"\x7fELF" + bytes(100),
    "a zip file": b"PK\3\4" + bytes(100),
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "an SVG with an entity": b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_and_lies_are_422(server, good, name):
    """And take little memory: not what they would unpack to."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for answer in (server.raw(BOMBS[name]), server.raw(BOMBS[name], "/v1/heatmap")):
        assert answer.status in (413, 422)
        assert answer.json["status"] == answer.status
    if len(BOMBS[name]) < 2**19:
        answer = server.form([("a.jpg", good), ("b.jpg", BOMBS[name])])
        assert [row["status"] for row in answer.json["results"]] == ["ok", "error"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 90 * 1024  # in KiB


BESIDE_THE_PIXELS = {
    "text chunk": png(10, 10, chunk(b"zTXt", b"k\0\0" + zeros(200)), IMAGE),
    "international text chunk": png(10, 10, chunk(b"iTXt", b"k\0\1\0\0\0" + zeros(200)), IMAGE),
    "colour profile": png(10, 10, chunk(b"iCCP", b"p\0\0" + zeros(200)), IMAGE),
}


@pytest.mark.parametrize("name", BESIDE_THE_PIXELS)
def test_a_zip_bomb_beside_the_pixels_is_not_unpacked(server, name):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = server.raw(BESIDE_THE_PIXELS[name])
    assert answer.status == 200
    assert answer.json["results"][0]["status"] == "ok"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 90 * 1024  # in KiB


def test_a_polyglot_is_scored_as_the_image_that_it_is(server, good, tiny_model):
    """A JPEG with a zip, a page and a script behind it: the rest is never looked at, and never sent back."""
    polyglot = good + b"PK\x05\x06<script>alert('not shown')</script>" + bytes(18)
    answer = server.raw(polyglot, **{"Content-Type": "image/png"})  # nor does a wrong type matter
    assert answer.status == 200
    row = answer.json["results"][0]
    assert row["format"] == "JPEG"
    assert row["prob_fake"] == Detector.from_pretrained(tiny_model).detect(good).prob_fake
    assert b"script" not in answer.body


def test_too_many_bytes_are_413(server, good):
    stated = server.talk(
        b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 99999999999\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert stated.startswith(b"HTTP/1.1 413 ")
    assert b'"detail":"a request has at most 1,048,576 bytes: send fewer or smaller images."' in stated

    answer = server.form([("a.jpg", good), ("b", bytes(2**20))])
    assert (answer.status, answer.json["type"]) == (413, "urn:cinemae:problem:too-many-bytes")


def test_a_body_in_chunks_is_411_and_hardly_parsed(server, good, monkeypatch):
    parsed = []
    parse = H11Protocol.data_received
    monkeypatch.setattr(H11Protocol, "data_received", lambda self, data: parsed.append(len(data)) or parse(self, data))
    head = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole = b"%x\r\n%b\r\n0\r\n\r\n" % (len(good), good)
    for body in (whole, b""):
        answer = server.talk(head + body)
        assert answer.startswith(b"HTTP/1.1 411 Length Required")
        assert b"connection: close" in answer.lower()
    for path in (b"/v1/detect", b"/healthz"):  # who sends much more than is read may find the connection reset
        parsed.clear()
        answer = server.talk(head.replace(b"/v1/detect", path) + b"1\r\na\r\n" * 500_000)
        assert answer == b"" or answer.startswith((b"HTTP/1.1 411", b"HTTP/1.1 405"))
        assert sum(parsed) <= 2 * 16 * 1024


def test_too_many_files_are_413_at_the_first_too_many(server, good, tools):
    assert server.form([("a.jpg", good)] * 4).status == 200
    answer = server.form([("a.jpg", good)] * 5)
    assert (answer.status, answer.json["type"]) == (413, "urn:cinemae:problem:too-many-files")
    assert answer.json["detail"] == "a request holds at most 4 files: send the others in further requests."
    many = tools.multipart([(None, b"")] * 10_000)
    assert len(many) < LIMITS["max_bytes"]
    assert server.form([(None, b"")] * 10_000).status == 413


FORM = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("content_type", "body", "status", "detail"),
    [
        ("multipart/form-data", b"", 400, "it has no boundary"),
        ("multipart/form-data; boundary=" + "b" * 300, b"", 400, "it does not follow RFC 7578"),
        ("multipart/form-data; boundary=b", b"", 400, "it ends before its last boundary"),
        ("multipart/form-data; boundary=b", b"no boundary here", 400, "it does not follow RFC 7578"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "it holds no file"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx',
            400,
            "ends",
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400, "each part is an image"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
            400,
            'each part is an image and its name is "files"',
        ),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"A: b\r\n" * 100 + b"\r\nx\r\n--b--\r\n", 400, "RFC 7578"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: " + b"b" * 9000 + b"\r\n\r\nx\r\n--b--\r\n", 400, "RFC 7578"),
        ("multipart/form-data; boundary=b", b"\r" * 500_000, 400, "it ends before its last boundary"),
        ("multipart/form-data; boundary=b", b"\0\xff" * 1000, 400, "RFC 7578"),
        ("application/json", b"{}", 415, "Set Content-Type"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "Set Content-Type"),
        ("text/html", b"<p>", 415, "Set Content-Type"),
    ],
)
def test_malformed_bodies_are_4xx(server, content_type, body, status, detail):
    answer = server.ask("POST", "/v1/detect", body, {"Content-Type": content_type})
    assert answer.status == status
    assert detail.lower() in answer.json["detail"].lower()


def test_a_compressed_body_is_415(server, good):
    answer = server.raw(zlib.compress(good), **{"Content-Encoding": "deflate"})
    assert answer.status == 415
    assert "Content-Encoding" in answer.json["detail"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),  # TLS
        b"GET /none HTTP/9.9\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"\r\n\r\n\0\0\0\0",
        b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"a" * 2_000_000,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 300_000,
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(server, data):
    answer = server.talk(data)
    assert answer == b"" or answer.split()[1][:1] == b"4", answer[:200]


class Held:
    """A detector that scores when it is let go."""

    def __init__(self, detector):
        self.detector, self.go = detector, threading.Event()
        self.model_id, self.scorer = detector.model_id, detector.scorer
        self.num_begun = 0

    def detect_batch(self, images, **options):
        self.num_begun += len(images)
        assert self.go.wait(30)
        yield from self.detector.detect_batch(images, **options)


@pytest.fixture
def held(tiny_model):
    held = Held(Detector.from_pretrained(tiny_model))
    yield held
    held.go.set()


def test_a_full_queue_is_503_and_says_when_to_come_again(in_thread, held, good, tools):
    with in_thread(detector=held, queue=4, max_files=4) as server:
        answers = []
        askers = [threading.Thread(target=lambda: answers.append(server.form([("a", good)] * 2))) for _ in range(2)]
        for asker in askers:
            asker.start()
        tools.wait_until(lambda: server.service.batcher.pending == 4)
        for refused in (server.raw(good), server.form([("a", good)] * 4)):
            assert (refused.status, refused.json["type"]) == (503, "urn:cinemae:problem:overloaded")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert "the queue has no room for these images (4 at a time)" in refused.json["detail"]
        held.go.set()
        for asker in askers:
            asker.join(30)
        assert [answer.status for answer in answers] == [200, 200]
        assert server.raw(good).status == 200


def test_bytes_in_flight_are_bounded(in_thread, held, good, tools):
    with in_thread(detector=held, max_bytes=len(good) + 10) as server:
        askers = [threading.Thread(target=server.raw, args=(good,)) for _ in range(4)]
        for asker in askers:
            asker.start()
        tools.wait_until(lambda: server.service.batcher.pending == 4)
        refused = server.raw(good)
        assert refused.status == 503
        assert refused.json["detail"] == "too many bytes are in flight: send the request again later."
        held.go.set()
        for asker in askers:
            asker.join(30)
        tools.wait_until(lambda: server.service.budget.used == 0)


def test_an_answer_that_takes_too_long_is_503_and_its_bytes_stay_counted(in_thread, held, good, tools):
    with in_thread(detector=held, timeout=0.2) as server:
        answer = server.raw(good)
        assert answer.status == 503
        assert answer.json["detail"] == "the images were not scored within 0.2 seconds: send fewer, or later."
        assert server.service.budget.used == len(good)  # a worker still holds them
        held.go.set()
        tools.wait_until(lambda: server.service.budget.used == 0)


def test_a_client_that_goes_away_leaves_nothing_behind(in_thread, held, good, tools):
    with in_thread(detector=held, workers=1, max_batch=1) as server:
        first = threading.Thread(target=server.raw, args=(good,))
        first.start()
        tools.wait_until(lambda: server.service.batcher.pending == 1)
        head = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        with server.connect() as connection:
            connection.sendall(head % len(good) + good)
            tools.wait_until(lambda: server.service.batcher.pending == 2)
        tools.wait_until(lambda: server.service.batcher.pending == 1)
        with server.connect() as connection:
            connection.sendall(head % len(good) + good[:100])  # in the middle of the body
            tools.wait_until(lambda: server.service.budget.used == len(good) + 100)
        tools.wait_until(lambda: server.service.budget.used == len(good))
        held.go.set()
        first.join(30)


def test_a_request_that_was_given_up_frees_its_worker(in_thread, held, good, tools):
    """Of four images the one in work is finished; those that wait are scored for nobody."""
    body = tools.multipart([("a", good)] * 4)
    head = "POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary={}\r\n"
    head += "Content-Length: {}\r\n\r\n"
    with in_thread(detector=held, workers=1, max_batch=1) as server:
        with server.connect() as connection:
            connection.sendall(head.format(tools.BOUNDARY, len(body)).encode() + body)
            tools.wait_until(lambda: held.num_begun == 1)
            assert server.service.batcher.pending == 4
        tools.wait_until(lambda: server.service.batcher.pending == 1)
        held.go.set()
        assert server.raw(good).status == 200
        assert held.num_begun == 2
        tools.wait_until(lambda: server.service.budget.used == 0)


def test_a_request_whose_time_is_over_frees_its_worker(in_thread, held, good, tools):
    with in_thread(detector=held, workers=1, max_batch=1, timeout=0.2) as server:
        assert server.form([("a", good)] * 4).status == 503
        tools.wait_until(lambda: server.service.batcher.pending == 1)
        held.go.set()
        tools.wait_until(lambda: server.service.batcher.pending == 0)
        assert held.num_begun == 1


SHORT = {"header_seconds": 0.3, "linger_seconds": 0.3}


def drip(connection, data, seconds):
    """Send a byte now and then; return what came until the other side closed, or None if it did not."""
    end = time.monotonic() + seconds
    connection.settimeout(0.02)
    got = b""
    for byte in data:
        try:
            connection.send(bytes([byte]))
            part = connection.recv(65536)
            if not part:
                return got
            got += part
        except TimeoutError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            return got
        if time.monotonic() > end:
            return None
    return None


def test_slow_headers_are_cut_off(in_thread, good):
    with in_thread(protocol=SHORT) as server:
        with server.connect() as connection:
            assert drip(connection, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 1000, 10) == b""
        with server.connect() as connection:  # a later request of the connection has the same time
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = drip(connection, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 1000, 10)
            assert answer is not None
            assert answer.count(b"HTTP/1.1 200 OK") == 1
        with server.connect() as connection:  # but who answers in time may take longer than it in all
            for _ in range(4):
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while not answer.endswith(b"}"):
                    answer += connection.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200 OK")
                time.sleep(0.1)


def test_half_open_connections_are_cut_off(in_thread, tools):
    with in_thread(protocol=SHORT) as server:
        silent = [server.connect() for _ in range(20)]
        begin = time.monotonic()
        for connection in silent:
            assert tools.read_all(connection) == b""
            connection.close()
        assert time.monotonic() - begin < 10


def test_a_slow_body_is_408(in_thread, good):
    head = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
    with in_thread(timeout=0.5) as server, server.connect() as connection:
        connection.sendall(head)
        answer = drip(connection, bytes(1000), 10)
        assert answer is not None
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout")
        assert b"connection: close" in answer.lower()
        assert b"the body must arrive within 0.5 seconds" in answer


def test_who_goes_on_sending_after_an_early_answer_is_cut_off(in_thread):
    head = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n"
    with in_thread(protocol=SHORT) as server, server.connect() as connection:
        connection.sendall(head)
        answer = drip(connection, bytes(2000), 10)
        assert answer is not None
        assert answer.startswith(b"HTTP/1.1 415 ")


def test_who_does_not_read_is_cut_off(in_thread, picture, tools):
    """Requests for answers of a megabyte in all, and no reading: the connection does not stay."""
    with in_thread(protocol=SHORT) as server:
        connection = server.connect()
        connection.setsockopt(1, 8, 4096)  # SOL_SOCKET, SO_RCVBUF
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.settimeout(10)
        with connection, pytest.raises((ConnectionResetError, BrokenPipeError)):  # not that the time is over
            connection.sendall(ask * 500_000)
        assert server.ask("GET", "/healthz").status == 200


def test_too_many_connections_are_turned_away(in_thread, good):
    with in_thread(protocol={"max_connections": 3}) as server:
        idle = [server.connect() for _ in range(3)]
        assert server.talk(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 503 ")
        more = [server.connect() for _ in range(3)]
        assert server.talk(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        for connection in idle + more:
            connection.close()
        deadline = time.monotonic() + 10
        while not server.talk(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(
            b"HTTP/1.1 200"
        ):
            assert time.monotonic() < deadline


def test_an_answer_is_sent_at_once(in_thread):
    """Without TCP_NODELAY the kernel holds an answer's body back until its head is acknowledged: 40 ms."""
    seen = []

    def on_response_complete(self: GuardedProtocol) -> None:
        connection = self.transport.get_extra_info("socket")
        seen.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        GuardedProtocol.on_response_complete(self)

    with in_thread(protocol={"on_response_complete": on_response_complete}) as server:
        assert server.ask("GET", "/healthz").status == 200
    assert all(seen)
    assert seen


def test_pipelined_requests_are_answered_in_order(server, good):
    one = b"POST /v1/detect HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = server.talk(one % (len(good), good) + one % (5, b"hello") + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"422", b"200"]


def test_an_image_of_just_so_many_pixels_is_scored(server, tools):
    assert server.raw(tools.encode(Image.new("L", (400, 250)), "PNG")).status == 200
    answer = server.raw(tools.encode(Image.new("L", (400, 251)), "PNG"))
    assert answer.status == 422
    assert "400x251 = 100,400 pixels, more than the 100,000 allowed" in answer.json["detail"]
