"""What a count of errors tells: Wilson's interval for a share, and McNemar's test for two models on the same images."""

import math
from statistics import NormalDist

from torchless.records import dataclass

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Interval:
    """A measured share and its 95 % confidence interval, all between 0 and 1."""

    value: float
    low: float
    high: float


def wilson(count: int, total: int) -> Interval:
    """`count` of `total` with Wilson's score interval (E. B. Wilson, JASA 22, 1927), accurate near 0 and 1 and for few
    images too.

    `total` is at least 1.
    """
    share = count / total
    centre = share + _Z**2 / (2 * total)
    reach = _Z * math.sqrt(share * (1 - share) / total + (_Z / (2 * total)) ** 2)
    scale = 1 + _Z**2 / total
    # At the ends, the bound is the share itself; rounding would miss it.
    return Interval(
        share, min(share, max(0.0, (centre - reach) / scale)), max(share, min(1.0, (centre + reach) / scale))
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p-value of McNemar's exact test, from how many images only the first and only the second model got
    right.

    It is the binomial test of a fair coin on the images on which they differ (Q. McNemar, Psychometrika 12, 1947),
    exact for any number of them. It uses whole numbers until the last division.
    """
    differing, fewer = only_first + only_second, min(only_first, only_second)
    term = ways = 1
    for k in range(fewer):
        term = term * (differing - k) // (k + 1)
        ways += term
    return min(1.0, 2 * ways / (1 << differing))
