"""How long, on what and for how much: a simulation that first reproduces what was measured, then goes past it."""
