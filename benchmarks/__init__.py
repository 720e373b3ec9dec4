"""Speed, measured: each module is one benchmark that checks its answer against the exact path before it times it."""
