"""``cinemae serve`` before it serves: options, keys, what is missing, and what it loads."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys

import pytest
from tests.cli.in_process import invoke

from cinemae.app.serve.config import ServeConfig
from cinemae.app.serve.keys import KEYS_VARIABLE, ApiKeys, read_keys
from cinemae.errors import ConfigError


def refused(*options):
    result = invoke("serve", *options)
    assert result.exit_code == 2
    return result.stderr


def test_help_states_the_defaults_and_loads_nothing_heavy():
    code = (
        "import sys, json\nfrom cinemae.app.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code, "serve", "--help"], capture_output=True, text=True, check=True)
    assert not {"numpy", "PIL", "onnxruntime", "fastapi", "starlette", "uvicorn"} & set(json.loads(result.stderr))
    assert "127.0.0.1" in result.stdout
    assert str(ServeConfig.max_bytes) in result.stdout


def test_a_service_whose_extra_is_missing_says_so(monkeypatch):
    real = builtins.__import__

    def without_fastapi(name, *arguments, **options):
        if name.partition(".")[0] == "fastapi":
            raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")
        return real(name, *arguments, **options)

    for name in [name for name in sys.modules if name.startswith(("cinemae.app.serve.", "fastapi"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_fastapi)
    assert refused() == "error: this needs fastapi, which is not installed: pip install 'cinemae[serve]'\n"


def test_an_address_that_is_taken_is_said_in_one_line(tiny_model):
    from cinemae.app.serve.server import listen

    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        shown = refused("--port", str(port), "--model", str(tiny_model))
        sentence = f"cannot listen on 127.0.0.1 port {port} (Address already in use): choose another --host or --port."
        assert shown == f"error: {sentence}\n"
    with pytest.raises(ConfigError, match=r"cannot listen on no\.such\.host\.invalid port 80 \("):
        listen("no.such.host.invalid", 80)
    with listen("::1", 0) as listener:
        from cinemae.app.serve.server import address_of

        assert address_of(listener).startswith("http://[::1]:")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"port": 70_000}, "a port lies in 0 to 65535, got 70000."),
        ({"queue": 0}, "queue must be at least 1, got 0."),
        ({"workers": -1}, "workers must be at least 1, got -1."),
        ({"queue": 10}, "the queue must hold at least one request of 50 files (max_files), got 10: raise one or lower"),
        ({"timeout": 0.0}, "timeout must be more than 0 seconds, got 0.0."),
        ({"timeout": float("nan")}, "timeout must be more than 0 seconds, got nan."),
        ({"max_wait_ms": float("inf")}, "max_wait_ms must be 0 or more, got inf."),
        ({"cors_origins": ("example.org",)}, "a CORS origin is a scheme and a host such as https://example.org, or *"),
    ],
)
def test_settings_outside_their_limits_are_refused(settings, sentence):
    with pytest.raises(ConfigError) as error:
        ServeConfig(**settings)
    assert sentence in str(error.value)


def test_bytes_in_flight_and_workers_follow_the_settings():
    assert ServeConfig(max_bytes=10).max_bytes_in_flight == 40
    assert ServeConfig(workers=3).num_workers == 3
    assert 1 <= ServeConfig().num_workers <= 4


@pytest.mark.parametrize(
    ("cores", "workers", "threads"), [(2, None, 1), (16, None, 4), (2, 1, 2), (2, 32, 1), (6, None, 1)]
)
def test_workers_share_the_cores(monkeypatch, cores, workers, threads):
    monkeypatch.setattr("cinemae.app.serve.config.usable_cores", lambda: cores)
    assert ServeConfig(workers=workers).threads_per_image == threads


LONG, OTHER = "0123456789abcdef", "fedcba9876543210"


def test_keys_come_from_a_file_and_the_environment(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# the first\n{LONG}\n\n")
    keys = read_keys(file, {KEYS_VARIABLE: f"{OTHER}, third-key-of-many-characters"})
    assert [keys.allow(key) for key in (LONG, OTHER, "third-key-of-many-characters")] == [True] * 3
    assert [keys.allow(key) for key in ("", None, LONG[:-1], LONG + "0", "# the first", f"{LONG}\n{OTHER}")] == [
        False
    ] * 6
    assert not read_keys(None, {}).required
    assert read_keys(None, {}).allow(None)


@pytest.mark.parametrize(
    ("content", "environment", "sentence"),
    [
        ("# none\n", {}, "names no key: write one a line."),
        (
            "short\n",
            {},
            "an API key has at least 16 printable ASCII characters and no spaces, one of 5 characters does",
        ),
        ("with spaces in the key\n", {}, "no spaces, one of 22 characters does not"),
        ("schl\u00fcssel-mit-umlaut-lang-genug\n", {}, "printable ASCII"),
        (f"{LONG}\n", {KEYS_VARIABLE: " "}, "CINEMAE_API_KEYS is set but holds no key: set one, or unset it."),
        (None, {}, "cannot be read"),
    ],
)
def test_a_service_meant_to_be_closed_does_not_start_open(tmp_path, content, environment, sentence):
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_keys(file, environment)
    assert sentence in str(error.value)
    assert (content or LONG).strip() not in str(error.value)


def test_every_key_is_compared_in_constant_time(monkeypatch):
    import hmac

    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    keys = ApiKeys([LONG, OTHER, "third-key-of-many-characters"])
    for key in (LONG, "wrong", None):
        compared.clear()
        keys.allow(key)
        assert len(compared) == 3
        assert {len(part) for pair in compared for part in pair} == {32}  # hashes: no length can be told either
