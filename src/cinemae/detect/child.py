"""The scoring process: ``python -m cinemae.detect.child FILE_DESCRIPTOR``, started by `cinemae.detect.guarded`."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from cinemae.detect.guarded import serve

if __name__ == "__main__":
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)
