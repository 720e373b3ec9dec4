#!/usr/bin/env bash
# Build sdist and wheel, install the wheel with its light dependencies alone in a new environment, and score pictures
# with it, away from the sources. Run from anywhere: .ci/smoke_wheel.sh [DIST], where DIST receives the two files.
# `build` must be installed; used by .ci/run and by .github/workflows.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dist=${1:-$work/dist}

python -m build --outdir "$dist" "$root"
wheels=("$dist"/cinemae-*.whl)
[[ ${#wheels[@]} -eq 1 ]] || { echo "$dist must hold one wheel, there are: ${wheels[*]}" >&2; exit 1; }

python -m venv "$work/env"
bin=$work/env/bin
[[ -d $bin ]] || bin=$work/env/Scripts
"$bin/python" -m pip install --quiet "${wheels[0]}"
cp -r "$root/examples" "$work/examples"
cd "$work"
"$bin/python" - <<'PYTHON'
import importlib.util

heavy = [name for name in ("torch", "transformers", "fastapi", "pyarrow") if importlib.util.find_spec(name)]
assert not heavy, f"the wheel's own dependencies must not pull {heavy}"
PYTHON
"$bin/cinemae" --version
"$bin/cinemae" detect examples/ --format jsonl --output verdicts.jsonl
"$bin/python" - <<'PYTHON'
import json
from pathlib import Path

rows = [json.loads(line) for line in Path("verdicts.jsonl").read_text(encoding="utf-8").splitlines()]
pictures = [path for path in Path("examples").rglob("*") if path.suffix in {".jpg", ".png"}]
assert len(rows) == len(pictures) > 0, f"{len(rows)} verdicts of {len(pictures)} pictures"
assert all(row["status"] == "ok" and 0 <= row["prob_fake"] <= 1 for row in rows), rows
print(f"the wheel scored {len(rows)} pictures")
PYTHON
