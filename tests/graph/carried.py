"""Programs whose iterations leave what their adjoints need in the next state."""

from __future__ import annotations

RECURRENT = "algorithm f(W: real[n, n], x: real[n], b: real[K, n]) -> real[n]:\n    iterations K = 4\n    for k in 0..K:\n        {}\n    return x\n"
HEAVY_BALL = """
algorithm f(A: real[m, n], x: real[n], step: real[K], beta: real[K]) -> real[n]:
    iterations K = 4
    before = x
    for k in 0..K:
        old = x
        x = x - step[k] * (A.T @ (A @ x)) + beta[k] * (x - before)
        before = old
    return x
"""
DUAL = """
algorithm f(x: real[n], step: real[K]) -> real[n]:
    iterations K = 4
    p = zeros(n)
    for k in 0..K:
        p[:-1] += step[k] * (x[1:] - x[:-1])
        p = p / sqrt(max(1, p**2))
        d = zeros(n)
        d[:-1] += p[:-1]
        d[1:] -= p[:-1]
        x = x + step[k] * d * x
    return x
"""
DOWN = "algorithm f(W: real[n, n], x: real[n]) -> real[n]:\n    iterations K = 4\n    for k in K..0 by -2:\n        x = relu(W @ x)\n    return x\n"
INNER = """
algorithm f(W: real[n, n], x: real[n]) -> real[n]:
    iterations K = 4
    for k in 0..K:
        y = x
        for j in 0..k:
            y = tanh(W @ y)
        x = y + x
    return x
"""
PROGRAMS = {
    "tanh": RECURRENT.format("x = tanh(W @ x + b[k])"),
    "relu": RECURRENT.format("x = relu(W @ x + b[k])"),
    "heavy ball": HEAVY_BALL,
    "dual": DUAL,
    "down": DOWN,
    "inner": INNER,
}
