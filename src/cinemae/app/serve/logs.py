"""Structured logs: one JSON object a line on standard error.

A line says which route was asked, how it was answered and how long that took. It holds no image, no part of one, no
file name, no address of a client and no API key.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

LOGGER_NAME = "cinemae.serve"
logger = logging.getLogger(LOGGER_NAME)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON; what was passed as ``extra={"fields": {...}}`` are further members.

    Of an exception it writes the type and the places in the code, not the message: that could quote the input.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            entry["exception"] = record.exc_info[0].__name__
            entry["places"] = _places(record.exc_info[2])
        return json.dumps(entry, ensure_ascii=True, default=str)


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": JsonFormatter}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "loggers": {
        LOGGER_NAME: {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "cinemae": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        "uvicorn.error": {"level": "WARNING"},
        "asyncio": {"handlers": ["stderr"], "level": "ERROR", "propagate": False},
        # What these say of an image or a body that is hostile or damaged, the answer says as well.
        "python_multipart": {"handlers": [], "level": "CRITICAL", "propagate": False},
        "PIL": {"handlers": [], "level": "CRITICAL", "propagate": False},
        "py.warnings": {"handlers": [], "level": "CRITICAL", "propagate": False},
    },
}
"""For `logging.config.dictConfig`."""
