"""The asymptotic series of the logarithm of the gamma function and its derivatives, in 1 / w**2, as backends without a library of C compute them.

They are made of the Bernoulli numbers B(2k), k = 1, 2, ...: log gamma has the terms B(2k) / (2k (2k - 1)) at w**(1 - 2k), its derivatives follow
(Abramowitz and Stegun, Handbook of Mathematical Functions, 6.1.40, 6.3.18, 6.4.12).
"""

from __future__ import annotations

from fractions import Fraction

_NUMBERS = [Fraction(n, d) for n, d in ((1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510))]

LGAMMA = tuple(float(b / (2 * k * (2 * k - 1))) for k, b in enumerate(_NUMBERS, 1))
DIGAMMA = tuple(float(b / (2 * k)) for k, b in enumerate(_NUMBERS, 1))
TRIGAMMA = tuple(map(float, _NUMBERS))
