"""Take the times that people write as an option, such as `12h` or `7d`."""

import argparse
import math

from postfix_mta_sts.config.field_types import seconds


def seconds_of(text: str) -> int:
    """Return whole seconds, rounded up; raises `ArgumentTypeError`."""
    try:
        return math.ceil(seconds(text))
    except ValueError:
        reason = "not a number of seconds, or a time such as 30m, 12h, 7d"
        raise argparse.ArgumentTypeError(reason) from None
