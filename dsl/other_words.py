"""Words of NumPy, PyTorch and Python that a newcomer may write, and how the language says the same."""

from __future__ import annotations

import re
from functools import lru_cache

from ..compiler import options
from ..compiler.nearest import nearest
from .builtins.all import BUILTINS

#: Names of modules that stand before a function elsewhere.
MODULES = frozenset("np numpy torch math tf jnp jax scipy linalg F nn us cmath random".split())

#: What is written for a name of theirs; ``sqrt(x)``-like texts are examples.
_WORDS = {
    "transpose": "x.T", "swapaxes": "permute(x, 1, 0)", "matmul": "A @ b", "mm": "A @ b", "bmm": "A @ b", "mv": "A @ b",
    "multiply": "x * y", "add": "x + y", "subtract": "x - y", "divide": "x / y", "power": "x**y", "pow": "x**y", "square": "x**2",
    "negative": "-x", "fmod": "x % y", "vdot": "dot(x, y)", "inner": "dot(x, y)",
    "len": "an axis has a size with a name: x: real[n]", "print": "results are what an algorithm returns; trace= shows iterates",
    "range": "a range is 0..n", "true": "True", "false": "False", "null": "None", "nil": "None", "none": "None",
    "float": "cast(x, real)", "int": "cast(x, i64)", "double": "cast(x, f64)", "pi": "write 3.141592653589793",
    "inf": "write a large number, 1e30, or bound it with `where`", "nan": "test with isfinite(x)", "isnan": "not isfinite(x)",
    "absolute": "abs(x)", "fabs": "abs(x)", "maximum": "max(x, y)", "minimum": "min(x, y)", "fmax": "max(x, y)", "fmin": "min(x, y)",
    "amax": "max(x)", "amin": "min(x)", "average": "mean(x)", "std": "sqrt(var(x))", "ln": "log(x)", "log2": "log(x) / log(2.0)",
    "log10": "log(x) / log(10.0)", "sgn": "sign(x)", "clamp": "clip(x, a, b)", "logistic": "sigmoid(x)", "expit": "sigmoid(x)",
    "identity": "eye(n)", "empty": "zeros(n)", "array": "stack(a, b, axis=0), or [e for i in 0..n]",
    "tensor": "stack(a, b, axis=0), or [e for i in 0..n]", "asarray": "an input is an array already",
    "concatenate": "concat(a, b, axis=0)", "cat": "concat(a, b, axis=0)", "hstack": "concat(a, b, axis=-1)", "vstack": "concat(a, b, axis=0)",
    "rand": "uniform(rng, n) with an input rng: key", "randn": "normal(rng, n) with an input rng: key", "real": "re(z)", "imag": "im(z)",
    "conjugate": "conj(z)", "diagonal": "diag(A)", "diagflat": "diag(x)", "squeeze": "reshape(x, n), or x[0]", "unsqueeze": "x[:, None]",
    "expand_dims": "x[:, None]", "view": "reshape(x, m, n)", "flatten": "reshape(x, m * n)", "ravel": "reshape(x, m * n)",
    "broadcast_to": "expand(x, m, n)", "pinv": "solve(A.T @ A, A.T @ b)", "lstsq": "solve(A.T @ A, A.T @ b)", "inverse": "inv(A)",
    "norm_l2": "norm(x)", "l2norm": "norm(x)", "spectral_norm": "norm2(A)", "normalize": "x / norm(x)", "copy": "values are never shared: y = x",
    "clone": "values are never shared: y = x", "detach": "stop_gradient(x)", "enumerate": "for i in 0..n", "select": "where(c, a, b)",
    "softthreshold": "use prox: soft", "soft_threshold": "use prox: soft", "softthresh": "use prox: soft", "shrink": "use prox: soft",
}  # fmt: skip

#: Attributes of arrays elsewhere.
_ATTRIBUTES = {
    "shape": "an axis has a size with a name: x: real[n]", "size": "an axis has a size with a name: x: real[n]",
    "ndim": "the type says how many axes there are: x: real[m, n]", "dtype": "the type says it: x: f32[n]", "item": "x[0]",
    "append": "arrays have fixed sizes: concat(a, b, axis=0), or x[i] = e", "fill": "x[...] = 0", "numpy": "values are plain arrays: x",
    "cpu": "values are plain arrays: x", "to": "cast(x, f32)", "astype": "cast(x, f32)", "float": "cast(x, real)", "long": "cast(x, i64)",
    "mT": "x.T", "mH": "x.H",
}  # fmt: skip

#: Types by their names elsewhere.
TYPES = {
    "float": "real", "double": "f64", "half": "f16", "bfloat16": "bf16", "float16": "f16", "float32": "f32", "float64": "f64",
    "int": "i64, or i32", "integer": "i64, or i32", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "long": "i64", "uint8": "i16",
    "complex64": "c64", "complex128": "c128", "boolean": "bool", "bit": "bool", "number": "real", "scalar": "real",
    "tensor": "real[n], with a size for each axis", "array": "real[n], with a size for each axis", "ndarray": "real[n], with a size for each axis",
    "vector": "real[n]", "matrix": "real[m, n]", "vec": "real[n]", "mat": "real[m, n]", "list": "real[n]", "str": "numbers only: real, i64, bool",
    "string": "numbers only: real, i64, bool", "prngkey": "key", "generator": "key",
}  # fmt: skip


def word(name: str) -> str | None:
    """How the language says what ``name`` is elsewhere, or where its library has it."""
    found = _WORDS.get(name) or _WORDS.get(name.lower())
    if found is not None:
        return found
    files = stdlib_definitions().get(name)
    if files:
        return f"`use {files[0]}: {name}` at the top takes it from the standard library"
    if name in stdlib_files():
        return f"`use {name}` at the top makes it known"
    return None


def attribute(name: str) -> str | None:
    """How the language says what the attribute ``name`` of an array is elsewhere."""
    return _ATTRIBUTES.get(name) or word(name)


def hint(name: str, known: list[str]) -> str | None:
    """What to try for a name that means nothing: a known one spelled almost so, what it is called here, a library's one."""
    if len(name) == 1:  # like no other
        return None
    found = nearest(name, known, 0.75) or word(name)
    if found is not None:
        return found
    close = nearest(name, [*known, *sorted(BUILTINS)], 0.7)
    if close is not None:
        return close
    far = nearest(name, list(stdlib_definitions()), 0.8)
    return word(far) if far is not None else None


def without_module(module: str, name: str) -> str:
    """What to try for ``np.dot``."""
    if name in BUILTINS:
        return f"{name}(...), without {module}."
    found = _WORDS.get(name)
    if found is not None:
        return found
    close = nearest(name, sorted(BUILTINS), 0.7)
    return f"{close}(...), without {module}." if close else f"builtins stand alone, without {module}."


@lru_cache(maxsize=1)
def stdlib_definitions() -> dict[str, list[str]]:
    """The names that files of the standard library define, each with the files."""
    found: dict[str, list[str]] = {}
    for stem in stdlib_files():
        text = (options.stdlib_folder() / f"{stem}.us").read_text(encoding="utf-8")
        for name in re.findall(r"^(?:fn|algorithm) (\w+)", text, re.MULTILINE):
            found.setdefault(name, []).append(stem)
    return found


def stdlib_files() -> list[str]:
    """The files of the standard library, without ``.us``."""
    return sorted(path.stem for path in options.stdlib_folder().glob("*.us"))
