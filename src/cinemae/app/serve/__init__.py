"""The REST service behind ``cinemae serve``; needs the extra ``serve`` (fastapi, uvicorn)."""
