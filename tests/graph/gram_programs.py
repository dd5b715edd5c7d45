"""Programs whose loops multiply with two fixed matrices, and programs that look like it."""

from __future__ import annotations

#: Rewritten, at m = 40, n = 6, K = 50 (and s = 5, q = 12, d = 60, c = 3).
REWRITTEN = {
    "least squares": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    param step[K] = 0.01
    x = zeros(n)
    for k in 0..K:
        x = x - step[k] * (A.T @ (A @ x - y))
    return x
""",
    "renamed, in pieces": """
algorithm f(B: real[m, n], obs: real[m]) -> real[n]:
    iterations K = 8
    param rate[K] = 0.01
    w = ones(n)
    for k in 0..K:
        gap = obs - B @ w
        t = -gap
        ascent = rate[k] * t
        w = w - B.T @ ascent
    return abs(w)
""",
    "transposed": """
algorithm f(At: real[n, m], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        x = max(x - 0.01 * (x @ At - y) @ At.T, 0)
    return x
""",
    "as sums": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        r = [sum(A[i, j] * x[j] for j in 0..n) - y[i] for i in 0..m]
        g = [sum(A[i, j] * r[i] for i in 0..m) for j in 0..n]
        x = x - 0.01 * g
    return x
""",
    "momentum": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    param beta[K] = 0.3
    x, z = zeros(n), zeros(n)
    for k in 0..K:
        new = z - 0.01 * A.T @ (A @ z - y)
        z = new + beta[k] * (new - x)
        x = new
    return x
""",
    "hard threshold": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        v = x + A.T @ (y - A @ x) / 50
        x = where(abs(v) > 0.1, v, 0)
    return x
""",
    "weighted, regularized": """
algorithm f(A: real[m, n], w: real[m], y: real[m], p: real[n]) -> real[n]:
    iterations K = 8
    x = p
    for k in 0..K:
        x = x - 0.01 * (A.T @ (w * (A @ x - y)) + 0.1 * (x - p))
    return x
""",
    "three matrices": """
algorithm f(A: real[m, n], W: real[m, m], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        x = x - 0.0002 * A.T @ (W @ (A @ x - y))
    return x
""",
    "several right-hand sides": """
algorithm f(A: real[m, n], Y: real[m, p]) -> real[n, p]:
    iterations K = 8
    X = zeros(n, p)
    for k in 0..K:
        X = X - 0.01 * A.T @ (A @ X - Y)
    return X
""",
    "in an inner loop": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        z = x
        for j in 0..3:
            z = z - 0.01 * (A.T @ (A @ z - y)) - 0.1 * (z - x)
        x = tanh(z)
    return x
""",
    "residual used elsewhere, too": """
algorithm f(A: real[m, n], y: real[m]) -> (real[n], real[m]):
    iterations K = 8
    x, worst = zeros(n), zeros(m)
    for k in 0..K:
        r = A @ x - y
        worst = max(worst, abs(r))
        x = x - 0.01 * (A.T @ r)
    return x, worst
""",
    "means": """
algorithm f(support: real[s, d], labels: real[s, c], query: real[q, d]) -> real[q, c]:
    iterations K = 8
    mu = (labels.T @ support) / sum(labels, axis=0)[:, None]
    u = full(1 / c, q, c)
    for k in 0..K:
        dist = sum(query**2, axis=1, keepdims=True) - 2 * query @ mu.T + sum(mu**2, axis=1)
        u = softmax(-dist / 20, axis=1)
        mu = (labels.T @ support + u.T @ query) / (sum(labels, axis=0) + sum(u, axis=0))[:, None]
    return u
""",
    "means, another way": """
algorithm f(near: real[s, d], hot: real[s, c], far: real[q, d]) -> real[q, c]:
    iterations K = 8
    param heat[K]: positive = 0.1
    p = full(1 / c, q, c)
    for k in 0..K:
        total = sum(hot, axis=0) + sum(p, axis=0)
        centre = [(sum(hot[i, j] * near[i, l] for i in 0..s) + sum(p[i, j] * far[i, l] for i in 0..q)) / total[j]
                  for j in 0..c, l in 0..d]
        lengths = [sum(centre[j, l] * centre[j, l] for l in 0..d) for j in 0..c]
        score = far @ centre.T - lengths / 2
        p = softmax(heat[k] * score, axis=1)
    return p
""",
}

#: Left as they are at these sizes.
KEPT = {
    "wide matrix": """
algorithm f(A: real[n, m], y: real[n]) -> real[m]:
    iterations K = 8
    x = zeros(m)
    for k in 0..K:
        x = x - 0.01 * (A.T @ (A @ x - y))
    return x
""",
    "not linear between": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        x = x - 0.01 * (A.T @ tanh(A @ x - y))
    return x
""",
    "matrix changes": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        x = x - 0.01 * (A.T @ (A @ x - y))
        A = 0.99 * A
    return x
""",
    "weights of an iteration": """
algorithm f(A: real[m, n], W: real[K, m], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        x = x - 0.01 * (A.T @ (W[k] * (A @ x - y)))
    return x
""",
    "length of a residual": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K:
        x = x - 0.01 * x * sum((A @ x - y)**2)
    return x
""",
    "square without a product": """
algorithm f(Q: real[q, d], u: real[q]) -> real[q]:
    iterations K = 8
    for k in 0..K:
        u = tanh(u / (1 + sum((u @ Q)**2)))
    return u
""",
    "integers": """
algorithm f(A: i64[m, n], y: i64[m]) -> i64[n]:
    iterations K = 8
    x = 0 * (y @ A)
    for k in 0..K:
        x = x - A.T @ (A @ x - y)
    return x
""",
    "complex": """
algorithm f(A: complex[m, n], y: complex[m]) -> complex[n]:
    iterations K = 8
    x = 0 * (y @ A)
    for k in 0..K:
        x = x - 0.01 * A.T @ (A @ x - y)
    return x
""",
    "ends by data": """
algorithm f(A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 8
    x = zeros(n)
    for k in 0..K until sum(abs(x)) > 100:
        x = x - 0.01 * (A.T @ (A @ x - y))
    return x
""",
}
