# The service on a processor, as a user without rights, on a file system that it cannot write to:
#
#   docker build -t cinemae .
#   docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --memory 2g \
#     --publish 127.0.0.1:8000:8000 --env CINEMAE_API_KEYS cinemae
#
# Options of `cinemae serve` go after the name of the image. Inside it listens on every address of the container: the
# line above opens it to this machine only, and to those who know a key.

FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY benchmarks/protocols benchmarks/protocols
COPY src src
RUN python -m venv /opt/cinemae && /opt/cinemae/bin/pip install --no-cache-dir '.[serve,heif]'

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="cinemae" \
      org.opencontainers.image.description="Tells AI-generated images from photographs, over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/cinemae /opt/cinemae
ENV PATH=/opt/cinemae/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    ORT_DISABLE_TELEMETRY=1
USER 10001:10001
WORKDIR /opt/cinemae
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["cinemae", "serve", "--host", "0.0.0.0"]
