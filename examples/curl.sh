#!/usr/bin/env bash
# Ask a running `cinemae serve` with curl.
# export CINEMAE_URL=http://127.0.0.1:8000   # and CINEMAE_API_KEY, if the service needs a key
set -euo pipefail
cd "$(dirname "$0")"
url=${CINEMAE_URL:-http://127.0.0.1:8000}
ask() { curl --silent --show-error --retry 5 --header "X-API-Key: ${CINEMAE_API_KEY:-}" "$@"; }

# Several images: one row each. curl waits by itself while the service answers 503 with Retry-After.
ask --form files=@chelsea.jpg --form files=@coffee.jpg "$url/v1/detect"
echo

# One image as the body.
ask --header "Content-Type: image/jpeg" --data-binary @chelsea.jpg "$url/v1/detect?stable=true"
echo

# A heat map, here thrown away.
ask --form files=@chelsea.jpg --output /dev/null --write-out '%{http_code} %{content_type}\n' "$url/v1/heatmap"

# What cannot be read is 422 and says why.
ask --form files=@README.md "$url/v1/detect"
echo
