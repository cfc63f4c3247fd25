"""Which differences between two series of repetitions are more than noise.

A series stands for its median, with the interval that contains the median of the distribution with a probability of 95 %
or more, whatever that distribution is: from the k-th smallest to the k-th largest repetition, since the number of
repetitions below the true median is binomial with p = 1/2 (Le Boudec, Performance Evaluation of Computer and
Communication Systems, 2010, section 2.2; recommended for timings by Hoefler and Belli, Scientific Benchmarking of
Parallel Computing Systems, SC 2015, rules 5 to 7). Times are skewed, and mean and standard deviation follow the
outliers. 6 repetitions are the fewest with such an interval, the whole range then; 9 pass over the smallest and the
largest.

The band of a ratio B / A reaches from the low end of B over the high end of A to the high end of B over the low end of A.
What it contains cannot be told apart; a ratio is a difference where 1 lies outside its band.
"""

import dataclasses
import math
import statistics

CONFIDENCE = 0.95
FASTER, SLOWER, NOISE, UNKNOWN = "faster", "slower", "within noise", "too few repetitions"


def rank(count, confidence=CONFIDENCE):
    """The largest k such that the k-th smallest and k-th largest of `count` are the interval; 0 where there is none."""
    found, below = 0, 0
    for k in range(1, count // 2 + 1):
        below += math.comb(count, k - 1)  # outcomes with fewer than k of the values below the median
        if 1 - 2 * below / 2**count >= confidence:
            found = k
    return found


def fewest_repetitions():
    return next(count for count in range(1, 100) if rank(count))


def interval(values):
    """The median's interval, or the whole range where there are too few values for one."""
    ordered, k = sorted(values), max(1, rank(len(values)))
    return ordered[k - 1], ordered[-k]


def spread(values):
    """Half the interval as a fraction of the median."""
    low, high = interval(values)
    return (high - low) / 2 / statistics.median(values)


@dataclasses.dataclass
class Comparison:
    """The time of B over the time of A, with its band."""

    ratio: float
    low: float
    high: float
    verdict: str


def compare(a, b):
    """The Comparison of two lists of times."""
    (low_a, high_a), (low_b, high_b) = interval(a), interval(b)
    low, high = low_b / high_a, high_b / low_a
    verdict = NOISE if low <= 1 <= high else SLOWER if low > 1 else FASTER
    if min(rank(len(a)), rank(len(b))) == 0:
        verdict = UNKNOWN
    return Comparison(statistics.median(b) / statistics.median(a), low, high, verdict)


def geometric_mean(values):
    return math.exp(statistics.fmean(math.log(value) for value in values))
