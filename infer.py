"""Images to 2D Gaussians from the command line: the same as `fastgs predict`."""

import sys

from fastgs.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
