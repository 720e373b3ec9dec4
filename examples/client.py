"""Ask a running `cinemae serve` from Python, with the client that comes with cinemae.

export CINEMAE_URL=http://127.0.0.1:8000   # and CINEMAE_API_KEY, if the service needs a key
"""
# ruff: noqa: T201

from __future__ import annotations

import os
from pathlib import Path

from cinemae.client import Client
from cinemae.errors import ServiceError

client = Client(os.environ.get("CINEMAE_URL", "http://127.0.0.1:8000"), os.environ.get("CINEMAE_API_KEY"))
here = Path(__file__).parent

for row in client.detect([here / "chelsea.jpg", here / "coffee.jpg", here / "README.md"]):
    print(row["path"], row["status"], row["verdict"], row["prob_fake"])

print(len(client.heatmap(here / "chelsea.jpg")), "bytes of PNG")

try:
    client.detect(b"this is no image")
except ServiceError as error:
    print(error.problem["title"], "-", error)
