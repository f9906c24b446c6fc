"""What operator/plan/rollout/beta.test.ts and eprocess.test.ts hold our functions to: SciPy's values, and mpmath's
where SciPy's would underflow.

    python beta_values.py > operator/plan/rollout/testdata/beta-values.json     (scipy 1.17, mpmath 1.4)
"""
import json
import math

from mpmath import mp, mpf
from mpmath import betainc, log
from scipy import integrate, optimize, special, stats

mp.dps = 1500


def tails(a, b, x):
    lower, upper = stats.beta.logcdf(x, a, b), stats.beta.logsf(x, a, b)
    exact = max(a, b) <= 5000  # mpmath takes its time beyond
    if exact:
        whole = betainc(a, b, 0, 1)
        lower = float(log(betainc(a, b, 0, mpf(x)) / whole))
        upper = float(log(betainc(a, b, mpf(x), 1) / whole))
    return [a, b, x, lower, upper]


def evidence(limit, n, failures, at=None, above=True):
    """ln E by quadrature of its definition: Beta(1, b) of the limit, cut off on one side of what is tested, `at`."""
    b = max(1.0, 0.1 / limit)
    limit = limit if at is None else at
    mass = stats.beta.sf(limit, 1, b) if above else stats.beta.cdf(limit, 1, b)
    prior = lambda q: stats.beta.pdf(q, 1, b) / mass
    low, high = (limit, 1 - 1e-12) if above else (1e-12, limit)
    ratio = lambda q: failures * math.log(q / limit) + (n - failures) * math.log((1 - q) / (1 - limit))
    peak = min(max(failures / n, low), high)
    top = ratio(peak)
    width = math.sqrt(max(peak * (1 - peak), 1e-6) / n)
    points = sorted({min(max(peak + k * width, low), high) for k in (-8, -3, 0, 3, 8, 16, 40)})
    value, _ = integrate.quad(lambda q: math.exp(ratio(q) - top) * prior(q), low, high, points=points,
                              limit=500, epsabs=0, epsrel=1e-11)
    return top + math.log(value)


def interval(limit, n, failures, alpha):
    rate = failures / n
    enough = math.log(1 / alpha)
    ends = lambda p, above: evidence(limit, n, failures, p, above) - enough
    low = optimize.brentq(lambda p: ends(p, True), rate / 1e6, min(rate, 1 - 1e-6), xtol=1e-15) if failures > 0 else 0
    high = optimize.brentq(lambda p: ends(p, False), max(rate, 1e-4), 1 - (1 - rate) / 30, xtol=1e-15) if rate < 1 else 1
    return [low, high]


values = {
    "logGamma": [[x, float(special.gammaln(x))] for x in
                 (1e-3, 0.1, 0.5, 1, 1.5, 2, 3.7, 9.99, 10, 42.5, 1e3, 123456.7, 1e6, 1e9)],
    "tails": [tails(*row) for row in (
        (1, 1, 0.01), (1, 10, 0.01), (1, 2, 0.05), (4, 10, 0.01), (0.5, 0.5, 0.3), (7, 604, 0.01), (2, 1000, 0.01),
        (31, 580, 0.01), (301, 310, 0.01), (1, 900, 0.4), (100, 100, 0.5), (3, 2000, 0.001), (2001, 3001, 0.4),
        (500, 4500, 0.05), (501, 9510, 0.05), (10001, 990010, 0.01), (20001, 980010, 0.0195), (40, 10, 0.999),
        (601, 10, 0.01), (1, 4010, 0.02))],
    "logEvidence": [[*row, evidence(*row)] for row in (
        (0.01, 3, 3), (0.01, 3, 0), (0.01, 600, 6), (0.01, 600, 30), (0.01, 600, 17), (0.05, 120, 12), (0.05, 3, 3),
        (0.001, 10000, 10), (0.001, 10000, 40), (0.01, 100000, 1000), (0.01, 100000, 1100), (0.2, 50, 25), (0.01, 1, 1))],
    "interval": [[*row, *interval(*row, 0.01 / 3)] for row in (
        (0.01, 600, 1), (0.01, 600, 30), (0.01, 3, 3), (0.01, 100, 0), (0.05, 1000, 100), (0.05, 20, 20),
        (0.001, 100000, 130), (0.01, 300000, 1500))],
}
rows = (f'  "{name}": [\n    ' + ",\n    ".join(map(json.dumps, table)) + "\n  ]" for name, table in values.items())
print("{\n" + ",\n".join(rows) + "\n}")
