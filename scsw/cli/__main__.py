"""``python -m scsw.cli``."""

from scsw.cli import main

if __name__ == "__main__":
    main()
