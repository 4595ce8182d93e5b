"""The interval of a share of images, for scores and for the points of figures."""

from __future__ import annotations

import math

RARE = 3  # errors up to which Wilson's interval is corrected
CENTRAL = 1.959963984540054  # quantile of a normal distribution for 95 %


def wilson(share: float, images: float, quantile: float = CENTRAL) -> tuple[float, float]:
    """Return Wilson's interval of a share of images, which may be a fractional number.

    With up to three errors, or successes, the far end is corrected by the Poisson distribution.
    Sources: Wilson, *Probable Inference, the Law of Succession, and Statistical Inference*, 1927;
    Brown, Cai and DasGupta, *Interval Estimation for a Binomial Proportion*, 2001, sections 3.1.1
    and 4.1.1.
    """
    weight = quantile**2 / images
    centre = (share + weight / 2) / (1 + weight)
    reach = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    low = max(centre - reach, 0.0) if share > 0 else 0.0
    high = min(centre + reach, 1.0) if share < 1 else 1.0
    return (
        min(low, _rare(share * images) / images),
        max(high, 1 - _rare((1 - share) * images) / images),
    )


def _rare(count: float) -> float:
    """Return the Poisson mean that so many events still allow; infinite if they are not rare."""
    from scipy.special import gammaincinv

    if count > RARE + 1e-9:
        return math.inf
    return float(gammaincinv(count, 0.05)) if count > 1e-9 else 0.0
