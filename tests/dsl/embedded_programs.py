"""The programs of the language page, written in Python: one class for each file of ``tests/programs``."""

# ruff: noqa: B007, F821  (size names need no binding)

import unspool as us


class lasso:
    @us.fn
    def soft(v, t):
        return us.sign(v) * max(abs(v) - t, 0)

    @us.algorithm
    def ista(A: us.given(us.real["m", "n"]), y: us.real["m"]) -> us.real["n"]:
        K = us.iterations(16)
        step = us.param(K, constraint="positive", init=1 / us.norm2(A) ** 2)
        lam = us.param(K, constraint="nonneg", init=0.1)
        x = us.zeros("n")
        for k in range(K):
            r = A @ x - y
            x = soft(x - step[k] * (A.T @ r), lam[k] * step[k])
        return x

    @us.algorithm
    def fista(A: us.given(us.real["m", "n"]), y: us.real["m"]) -> us.real["n"]:
        K = us.iterations(16)
        step = us.param(K, constraint="positive", init=1 / us.norm2(A) ** 2)
        lam = us.param(K, constraint="nonneg", init=0.1)
        momentum = us.param(K, constraint="unit", init=0.5)
        x = us.zeros(n)
        z = x
        for k in range(K):
            x_old = x
            x = soft(z - step[k] * (A.T @ (A @ z - y)), lam[k] * step[k])
            z = x + momentum[k] * (x - x_old)
        return x

    @us.algorithm
    def lista(A: us.given(us.real["m", "n"]), y: us.real["m"]) -> us.real["n"]:
        """Gregor & LeCun 2010: the matrices themselves are learned, one pair per iteration."""
        K = us.iterations(16)
        W = us.param(K, "n", "m", init=A.T / us.norm2(A) ** 2)
        S = us.param(K, n, n, init=us.eye(n) - A.T @ A / us.norm2(A) ** 2)
        theta = us.param(K, constraint="nonneg", init=0.1 / us.norm2(A) ** 2)
        x = us.zeros(n)
        for k in range(K):
            x = soft(W[k] @ y + S[k] @ x, theta[k])
        return x

    @us.fn
    def hard(v, t):
        return us.where(abs(v) > t, v, 0)

    @us.algorithm
    def iht(A: us.given(us.real["m", "n"]), y: us.real["m"]) -> us.real["n"]:
        K = us.iterations(16)
        step = us.param(K, constraint="positive", init=1 / us.norm2(A) ** 2)
        lam = us.param(K, constraint="nonneg", init=0.1)
        x = us.zeros(n)
        for k in range(K):
            x = hard(x - step[k] * (A.T @ (A @ x - y)), us.sqrt(2 * lam[k] * step[k]))
        return x


class tv:
    @us.algorithm(where="h >= 2, w >= 2")
    def tv(image: us.real["h", "w"], strength: us.real) -> us.real["h", "w"]:
        K = us.iterations(50)
        tau = us.param(K, constraint="positive", init=0.25)
        sigma = us.param(K, constraint="positive", init=0.5)
        u = image
        u_bar = image
        p = us.zeros(h, w)
        q = us.zeros(h, w)
        for k in range(K):
            p[:-1, :] += sigma[k] * (u_bar[1:, :] - u_bar[:-1, :])
            q[:, :-1] += sigma[k] * (u_bar[:, 1:] - u_bar[:, :-1])
            length = us.sqrt(max(1, p**2 + q**2))
            p = p / length
            q = q / length
            div = us.zeros(h, w)
            div[:-1, :] += p[:-1, :]
            div[1:, :] -= p[:-1, :]
            div[:, :-1] += q[:, :-1]
            div[:, 1:] -= q[:, :-1]
            u_old = u
            u = (u + tau[k] * (div + image / strength)) / (1 + tau[k] / strength)
            u_bar = 2 * u - u_old
        return u


class balance:
    @us.algorithm
    def alf_lb(scores: us.real["T", "E"], top: us.i32) -> (us.real["E"], us.real["E"]):
        K = us.iterations(50)
        step = us.param(K, constraint="positive", init=0.01)
        bias = us.zeros(E)
        load = us.zeros(E)
        for k in range(K):
            chosen = us.topk(scores + bias, top, axis=1).mask
            load = sum(us.cast(chosen, us.real), axis=0)
            target = us.mean(load)
            bias = bias + step[k] * us.sign(target - load)
        return bias, load

    @us.algorithm
    def sinkhorn(C: us.real["n", "m"], a: us.real["n"], b: us.real["m"]) -> us.real["n", "m"]:
        K = us.iterations(50)
        eps = us.param(K, constraint="positive", init=0.05)
        f = us.zeros(n)
        g = us.zeros(m)
        for k in range(K):
            f = eps[k] * (us.log(a) - us.logsumexp((g - C) / eps[k], axis=1))
            g = eps[k] * (us.log(b) - us.logsumexp((f[:, None] - C) / eps[k], axis=0))
        return us.exp((f[:, None] + g - C) / eps[K - 1])


class em:
    @us.algorithm
    def unrolled_em(support: us.real["s", "d"], labels: us.real["s", "c"], query: us.real["q", "d"]) -> us.real["q", "c"]:
        K = us.iterations(10)
        temperature = us.param(K, constraint="positive", init=1.0)
        balance = us.param(K, constraint="nonneg", init=1.0)
        mu = (labels.T @ support) / sum(labels, axis=0)[:, None]
        u = us.full(1 / c, q, c)
        for k in range(K):
            share = us.mean(u, axis=0)
            dist = us.sum(query**2, axis=1, keepdims=True) - 2 * query @ mu.T + us.sum(mu**2, axis=1)
            u = us.softmax(-temperature[k] * dist / 2 + balance[k] * us.log(share + 1e-12), axis=1)
            weight = us.sum(labels, axis=0) + us.sum(u, axis=0)
            mu = (labels.T @ support + u.T @ query) / weight[:, None]
        return u

    @us.algorithm
    def gmm(x: us.real["n", "d"], mu0: us.real["c", "d"]) -> tuple[us.real["c"], us.real["c", "d"], us.real["c", "d"]]:
        K = us.iterations(20)
        pi = us.full(1 / c, c)
        mu = mu0
        var_ = us.ones(c, d)
        for k in range(K):
            logp = [
                us.log(pi[j]) - 0.5 * sum((x[i, l] - mu[j, l]) ** 2 / var_[j, l] + us.log(var_[j, l]) for l in range(d))
                for i in range(n)
                for j in range(c)
            ]
            resp = us.softmax(logp, axis=1)
            weight = sum(resp, axis=0)
            pi = weight / n
            mu = (resp.T @ x) / weight[:, None]
            var_ = [
                sum(resp[i, j] * (x[i, l] - mu[j, l]) ** 2 for i in range(n)) / weight[j] + 1e-6
                for j in range(c)
                for l in range(d)
            ]
        return pi, mu, var_


class bilevel:
    @us.fn
    def inner(w, X, t, weight, ridge):
        return sum(weight * us.softplus(-t * (X @ w))) / sum(weight) + ridge * sum(w**2)

    @us.algorithm
    def hyperclean(
        X: us.real["n", "d"], t: us.real["n"], Xv: us.real["v", "d"], tv: us.real["v"], logits: us.real["n"]
    ) -> (us.real, us.real["d"]):
        K = us.iterations(50)
        step = us.param(K, constraint="positive", init=0.5)
        ridge = us.param(constraint="nonneg", init=0.001)
        w = us.zeros(d)
        for k in range(K):
            w = w - step[k] * us.grad(inner, w)(w, X, t, us.sigmoid(logits), ridge)
        validation = us.mean(us.softplus(-tv * (Xv @ w)))
        return validation, w


class es:
    @us.fn
    def fitness(h, target):
        return -us.mean((h - target) ** 2)

    @us.algorithm
    def eggroll(W0: us.real["o", "d"], X: us.real["b", "d"], target: us.real["b", "o"], rng: us.key) -> us.real["o", "d"]:
        K = us.iterations(20)
        population = us.iterations(256)
        rank = us.iterations(1)
        sigma = us.param(K, constraint="positive", init=0.05)
        lr = us.param(K, constraint="positive", init=0.3)
        W = W0
        for k in range(K):
            scores = us.zeros(population)
            A = us.normal(us.fold(rng, k, 0), population, o, rank)
            B = us.normal(us.fold(rng, k, 1), population, d, rank)
            for i in range(population):
                h = X @ W.T + sigma[k] / us.sqrt(rank) * (X @ B[i]) @ A[i].T
                scores[i] = fitness(h, target)
            z = (scores - us.mean(scores)) / (us.sqrt(us.var(scores)) + 1e-8)
            W = W + lr[k] / population * us.einsum("p,por,pdr->od", z, A, B) / us.sqrt(rank)
        return W


class proxgrad:
    @us.algorithm
    def plug_and_play(A: us.given(us.real["m", "n"]), y: us.real["m"], tol: us.real) -> us.real["n"]:
        K = us.iterations(100)
        step = us.param(constraint="positive", init=1 / us.norm2(A) ** 2)
        denoise = us.module("(real[n]) -> real[n]")
        x = A.T @ y
        z = x
        for k in range(K):
            z = x
            x = denoise(z - step * (A.T @ (A @ z - y)))
            if us.norm(x - z) < tol:
                break
        return x

    @us.fn
    def least_squares(w, X, t):
        return us.mean((X @ w - t) ** 2)

    @us.algorithm
    def lion(X: us.real["n", "d"], t: us.real["n"], w0: us.real["d"]) -> us.real["d"]:
        K = us.iterations(100)
        lr = us.param(K, constraint="positive", init=0.01)
        beta1 = us.param(constraint="unit", init=0.9)
        beta2 = us.param(constraint="unit", init=0.99)
        decay = us.param(constraint="nonneg", init=0.0)
        w = w0
        m = us.zeros(d)
        for k in range(K):
            g = us.grad(least_squares, "w")(w, X, t)
            w = w - lr[k] * (us.sign(beta1 * m + (1 - beta1) * g) + decay * w)
            m = beta2 * m + (1 - beta2) * g
        return w


class stencils:
    @us.algorithm
    def jacobi2d(A: us.real["n", "n"]) -> us.real["n", "n"]:
        T = us.iterations(50)
        B = A
        for t in range(T):
            for i in range(1, n - 1):
                for j in range(1, n - 1):
                    B[i, j] = 0.2 * (A[i, j] + A[i, j - 1] + A[i, j + 1] + A[i + 1, j] + A[i - 1, j])
            for i in range(1, n - 1):
                for j in range(1, n - 1):
                    A[i, j] = 0.2 * (B[i, j] + B[i, j - 1] + B[i, j + 1] + B[i + 1, j] + B[i - 1, j])
        return A

    @us.algorithm
    def seidel2d(A: us.real["n", "n"]) -> us.real["n", "n"]:
        T = us.iterations(20)
        for t in range(T):
            for i in range(1, n - 1):
                for j in range(1, n - 1):
                    A[i, j] = (
                        A[i - 1, j - 1] + A[i - 1, j] + A[i - 1, j + 1] + A[i, j - 1] + A[i, j]
                        + A[i, j + 1] + A[i + 1, j - 1] + A[i + 1, j] + A[i + 1, j + 1]
                    ) / 9  # fmt: skip
        return A


class triangular:
    @us.algorithm
    def cholesky_lower(A: us.real["n", "n"]) -> us.real["n", "n"]:
        for i in range(n):
            for j in range(i):
                for k in range(j):
                    A[i, j] -= A[i, k] * A[j, k]
                A[i, j] = A[i, j] / A[j, j]
            for k in range(i):
                A[i, i] -= A[i, k] ** 2
            A[i, i] = us.sqrt(A[i, i])
        return us.tril(A)

    @us.algorithm
    def syrk(C: us.real["n", "n"], A: us.real["n", "m"], alpha: us.real, beta: us.real) -> us.real["n", "n"]:
        for i in range(n):
            for j in range(i + 1):
                C[i, j] = C[i, j] * beta
            for k in range(m):
                for j in range(i + 1):
                    C[i, j] += alpha * A[i, k] * A[j, k]
        return C
