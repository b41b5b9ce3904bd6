"""Stands in, in this source tree, for the copy of `rewardserve._wire` that lies beside an export's `model.py`."""

from rewardserve._wire import *  # noqa: F403
