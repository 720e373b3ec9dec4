"""``python -m cinemae``."""

from cinemae.app.cli import main

if __name__ == "__main__":
    main()
