"""Run every benchmark, each in a process of its own; with --save keep the records and render docs/performance.md."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.measure import ROOT, make_parser
from benchmarks.render import BENCHMARKS

TAKES_MODEL = ("cold_start", "folder")
NOT_RUN = ("onnx_parity", "precision", "score_cache", "ray_engine", "ray_memory", "large_store")
RUN = [name for name in BENCHMARKS if name not in NOT_RUN]  # those need labelled pictures, or far more time and disk


def main() -> None:
    """Run them in order; the exit code is 1 if one gave a wrong answer or broke."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", help="a model directory; without it the bundled starter")
    parser.add_argument("--only", nargs="+", choices=RUN, help="which to run; without it all")
    options = parser.parse_args()
    failed = []
    for name in options.only or RUN:
        command = [sys.executable, "-m", f"benchmarks.{name}", *["--save"] * options.save]
        if options.model and name in TAKES_MODEL:
            command += ["--model", options.model]
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(name)
    if options.save:
        subprocess.run([sys.executable, "-m", "benchmarks.render"], cwd=ROOT, check=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
