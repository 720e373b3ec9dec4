"""The service's OpenAPI document: what FastAPI cannot tell by itself, because bodies are read by our own code."""

from __future__ import annotations

import re
from typing import Any, get_type_hints

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from cinemae.app.serve.body import FIELD
from cinemae.app.serve.problems import SCHEMA as PROBLEM_SCHEMA
from cinemae.core.preprocess import Examined
from cinemae.detect.verdict import Verdict
from cinemae.evidence.signals import ProvenanceSignal

DESCRIPTION = """\
Tells AI-generated images from photographs. A score is a signal, not proof: judge nobody by it alone.

A request of one image that cannot be read is answered 422; among several, such an image is a row with status "error".
"""

EXAMPLE = Verdict(
    "photo.jpg",
    "ok",
    verdict="uncertain",
    prob_fake=0.5312,
    logit=0.125,
    threshold=0.8,
    false_positive_rate=0.02,
    reasons=("it lies between the two thresholds",),
    variability=0.51,
    overall=0.73,
    sensitivity=0.12,
    ood_score=0.4,
    width=1024,
    height=768,
    format="JPEG",
    content_hash="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    model="starter@0123456789ab",
    examined=Examined(1.0, 224, 0.06380208333333333),
)
BROKEN = Verdict("broken.jpg", "error", error_message="image file is JPEG by its first bytes, but the rest is damaged.")

_BINARY = {"type": "string", "format": "binary"}


def request_body(most: int | None = None) -> dict[str, Any]:
    """Return how images are sent, at most so many.

    Args:
        most: Images in one request; None where only the service's own limit holds.
    """
    files = {
        "type": "array",
        "minItems": 1,
        **({} if most is None else {"maxItems": most}),
        "items": _BINARY,
        "description": "Images, each a part of this name. Its file name comes back as `path`.",
    }
    form = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": {FIELD: files}}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": form,
                "encoding": {FIELD: {"contentType": "application/octet-stream"}},
            },
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
        },
    }


RESULTS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["results"],
    "additionalProperties": False,
    "properties": {
        "results": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Verdict"},
            "description": "One row an image, in the order of the request.",
        }
    },
}
_EXAMPLES = {
    "one image": {"value": {"results": [EXAMPLE.to_dict()]}},
    "one of two cannot be read": {"value": {"results": [EXAMPLE.to_dict(), BROKEN.to_dict()]}},
}


def verdict_schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of `Verdict.to_dict`, and those that it refers to.

    The keys are those it writes, with the types and words of its class; in the row of an error most are null.
    """
    hints = get_type_hints(Verdict, localns={"ProvenanceSignal": ProvenanceSignal})
    described = _attributes(Verdict.__doc__ or "")
    properties: dict[str, dict[str, Any]] = {}
    schemas: dict[str, dict[str, Any]] = {}
    for name, value in BROKEN.to_dict().items():
        hint = hints[name] | None if value is None else hints[name]
        schema = TypeAdapter(hint).json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        properties[name] = {**schema, "description": described.get(name, name)}
    schemas["Verdict"] = {"type": "object", "required": list(EXAMPLE.to_dict()), "properties": properties}
    return schemas


def _attributes(docstring: str) -> dict[str, str]:
    """Return what the Attributes section of a Google docstring says of each name."""
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^ {8}(\w+): (.*(?:\n {12}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def build_document(app: FastAPI, *, keyed: bool) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        app: With all its routes.
        keyed: Whether API keys are asked for; if not, the document does not speak of them.
    """
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of an error, which nothing sends
        schemas.pop(name, None)
    schemas |= {"Problem": PROBLEM_SCHEMA, **verdict_schemas()}
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        content = operation["responses"]["200"].get("content", {}).get("application/json", {})
        if content.get("schema") == RESULTS_SCHEMA:
            content["examples"] = _EXAMPLES  # FastAPI drops what is null from examples that it is given
        if not keyed:
            operation.pop("security", None)
            operation["responses"].pop("401", None)
    if not keyed:
        document["components"].pop("securitySchemes")
    return document
