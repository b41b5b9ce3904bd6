"""`python -m rewardserve_training` is `rewardserve train`: the form that `accelerate launch -m` and torchrun start."""

from __future__ import annotations

import sys

from rewardserve.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
