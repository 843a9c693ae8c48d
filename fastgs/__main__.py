"""Entry point of `python -m fastgs`, which is the `fastgs` command."""

import sys

from fastgs.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
