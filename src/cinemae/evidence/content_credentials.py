"""Content Credentials (C2PA) of a file, checked by c2pa-python; the only module that imports it (extra ``c2pa``).

Nothing is fetched: manifests kept elsewhere, revocation lists and identity documents would tell a stranger's server
which picture is looked at. So a certificate revoked since is not noticed.
"""

from __future__ import annotations

import io
import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

from cinemae.errors import ConfigError, ImageError, MissingDependencyError
from cinemae.evidence.known_makers import source_type_code

_MAX_PARENTS = 8
_METADATA = ("stds.iptc", "cawg.metadata", "c2pa.metadata")
_MAX_REPORT = 16 * 2**20
_SETTINGS: dict[str, Any] = {
    "verify": {"verify_after_reading": True, "verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
    # The empty list of hosts forbids every request that the two settings above may have forgotten.
    "core": {
        "allowed_network_hosts": [],
        "decode_identity_assertions": False,
        "max_decompressed_manifest_size_in_mb": 64,
    },
}


@dataclass(frozen=True)
class Credentials:
    """What the active manifest and the manifests of its parents state, and whether it holds.

    Attributes:
        state: "trusted": signature and file match, and the certificate leads to an anchor given; "valid": they match,
            but no anchor given vouches for the signer; "invalid": they do not match, or the certificate had run out.
        problems: Codes of the C2PA specification, section 15, where invalid ("assertion.dataHash.mismatch").
        signer: Organisation in the signing certificate; empty where it has none.
        signed_at: When it was signed, as the signer or a time stamp says; empty where nothing says so.
        generators: Programs that wrote the manifests, the latest first.
        agents: Programs named in their actions.
        source_types: IPTC digital source types of their actions, the last part of the address.
        actions: What was done, the latest manifest first ("c2pa.created").
    """

    state: Literal["trusted", "valid", "invalid"]
    problems: tuple[str, ...]
    signer: str
    signed_at: str
    generators: tuple[str, ...]
    agents: tuple[str, ...]
    source_types: tuple[str, ...]
    actions: tuple[str, ...]


def read_credentials(data: bytes, trust_anchors: str | None = None) -> Credentials:
    """Read and check the Content Credentials embedded in a file, by its bytes alone.

    Args:
        data: The whole file.
        trust_anchors: Root certificates (PEM) that vouch for signers; with None no signer can be trusted.

    Raises:
        MissingDependencyError: If c2pa-python is not installed, or does not run here.
        ConfigError: If the trust anchors cannot be read.
        ImageError: If there are no credentials, or they are damaged past reading.
    """
    try:
        import c2pa
    except Exception as error:  # its native library may fail in ways of its own
        raise MissingDependencyError(
            f"Content Credentials are checked by c2pa-python, which could not be loaded ({error}): "
            "run `pip install 'cinemae[c2pa]'`."
        ) from error
    trust = {} if trust_anchors is None else {"trust": {"trust_anchors": trust_anchors}}
    with ExitStack() as stack:
        try:
            context = stack.enter_context(c2pa.Context.from_dict({**_SETTINGS, **trust}))
        except Exception as error:
            raise ConfigError(
                f"trust anchors must be PEM certificates that c2pa-python can read ({error}): mend or leave them out."
            ) from error
        try:
            return _credentials(stack.enter_context(c2pa.Reader(None, io.BytesIO(data), context=context)).json())
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ImageError(
                f"Content Credentials must be whole to be read ({reason}): get the original file."
            ) from error


def _credentials(text: str) -> Credentials:
    if len(text) > _MAX_REPORT:
        raise ValueError("their report is too long")
    report = json.loads(text)
    manifests = _lineage(report)
    actions = [action for manifest in manifests for action in _actions(manifest)]
    stated = [_text(action.get("digitalSourceType")) for action in actions]
    stated += [text for manifest in manifests for text in _metadata_source_types(manifest)]
    failures = [_text(entry.get("code")) for entry in _dicts(report.get("validation_status"))]
    problems = [code for code in failures if code and code != "signingCredential.untrusted"]
    states: dict[str, Literal["trusted", "valid"]] = {"Trusted": "trusted", "Valid": "valid"}
    state: Literal["trusted", "valid", "invalid"] = states.get(_text(report.get("validation_state")), "invalid")
    signature = manifests[0].get("signature_info")
    return Credentials(
        state=state,
        problems=_unique(problems) if state == "invalid" else (),
        signer=_text(signature.get("issuer")) if isinstance(signature, dict) else "",
        signed_at=_text(signature.get("time")) if isinstance(signature, dict) else "",
        generators=_unique([_generator(manifest) for manifest in manifests]),
        agents=_unique([_program(action.get("softwareAgent")) for action in actions]),
        source_types=_unique([source_type_code(text) for text in stated]),
        actions=_unique([_text(action.get("action")) for action in actions]),
    )


def _lineage(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the active manifest, then that of the picture it was made from, and so on; not of elements put into it."""
    manifests, label = report["manifests"], report["active_manifest"]
    lineage: list[dict[str, Any]] = []
    while isinstance(manifests.get(label), dict) and len(lineage) <= _MAX_PARENTS:
        lineage.append(manifests.pop(label))
        ingredients = _dicts(lineage[-1].get("ingredients"))
        parents = [entry.get("active_manifest") for entry in ingredients if entry.get("relationship") == "parentOf"]
        label = parents[0] if parents else None
    if not lineage:
        raise ValueError("they have no active manifest")
    return lineage


def _actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    assertions = [
        entry for entry in _dicts(manifest.get("assertions")) if _text(entry.get("label")).startswith("c2pa.actions")
    ]
    data = [entry["data"] for entry in assertions if isinstance(entry.get("data"), dict)]
    return [_completed(action, part) for part in data for action in _dicts(part.get("actions"))]


def _completed(action: dict[str, Any], assertion: dict[str, Any]) -> dict[str, Any]:
    """Fill in what version 2 of the format keeps apart: templates of actions, and agents named by their place."""
    for template in _dicts(assertion.get("templates")):
        if template.get("action") in ("*", action.get("action")):
            action = {**template, **action}
    agents, place = assertion.get("softwareAgents"), action.get("softwareAgentIndex")
    if isinstance(agents, list) and type(place) is int and 0 <= place < len(agents) and "softwareAgent" not in action:
        action = {**action, "softwareAgent": agents[place]}
    return action


def _metadata_source_types(manifest: dict[str, Any]) -> list[str]:
    """Return the IPTC source types in the manifest's assertions of metadata, which are JSON-LD."""
    return [
        _text(value.get("@id")) if isinstance(value, dict) else _text(value)
        for entry in _dicts(manifest.get("assertions"))
        if _text(entry.get("label")).startswith(_METADATA) and isinstance(entry.get("data"), dict)
        for key, value in entry["data"].items()
        if key.rpartition(":")[2].rpartition("/")[2].casefold() in ("digitalsourcetype", "digitalsourcefiletype")
    ]


def _generator(manifest: dict[str, Any]) -> str:
    infos = _dicts(manifest.get("claim_generator_info"))
    return _program(infos[0]) if infos else _text(manifest.get("claim_generator"))


def _program(value: object) -> str:
    """Return name and version of a program, which version 1 of the format gives as a text and version 2 as a map."""
    if isinstance(value, dict):
        return f"{_text(value.get('name'))} {_text(value.get('version'))}".strip()
    return _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dicts(value: object) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _unique(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
