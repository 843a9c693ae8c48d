"""Training from the command line: `python train.py fit --config configs/position.yaml`."""

import sys

from fastgs.stages.command import main

if __name__ == "__main__":
    sys.exit(main())
