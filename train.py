"""Training from the command line: `python train.py fit --config configs/position.yaml`."""

import sys

from fastgs.training.cli import main

if __name__ == "__main__":
    sys.exit(main())
