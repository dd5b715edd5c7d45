"""One line on each word of the language that is no builtin: what hovering over it says, and completion."""

from __future__ import annotations

KEYWORDS = {
    "use": "takes functions and algorithms of the standard library, `use prox: soft`, or of a file beside this one, `use \"ops.us\": blur`",
    "fn": "a function: `fn soft(v, t) = expression`, or a block that ends in `return`",
    "algorithm": "one problem and how it is solved: `algorithm f(given A: real[m, n], y: real[m]) -> real[n]:`",
    "given": "an input that is fixed when the algorithm is built; initial values of parameters may depend on it",
    "iterations": "an iteration count with its default: `iterations K = 16`",
    "param": "a learnable parameter: `param step[K]: positive = 0.1`; with `[K]` one value per iteration",
    "module": "a learned operator, a torch.nn.Module given by name: `module f: (real[n]) -> real[n]`",
    "objective": "what the algorithm minimizes, a function of its results: `objective J(x) = sum(x**2)`",
    "for": "a loop, run in order: `for k in 0..K:`; in brackets or a call, an index: `sum(x[i] for i in 0..n)`",
    "in": "between an index and its range: `for k in 0..K`",
    "by": "the step of a range: `0..n by 2`",
    "until": "ends a loop once a condition holds, which is tested after each body: `for k in 0..K until norm(r) < tol:`",
    "if": "a branch; on data both branches bind the same names with the same types",
    "elif": "another condition of an `if`",
    "else": "what is done if no condition of an `if` holds",
    "return": "the results; the last statement of a body",
    "assert": "a condition that the data must meet: `assert all(t > 0), \"times must be positive\"`",
    "where": "conditions on sizes, `where n >= 3`; as a builtin, `where(c, a, b)` chooses elementwise",
    "and": "true where both are, elementwise",
    "or": "true where one is, elementwise",
    "not": "the opposite of a bool, elementwise",
    "True": "a bool",
    "False": "a bool",
    "None": "a new axis in an index",
}
TYPES = {
    "real": "floating point, in the precision of the data or of `dtype=`",
    "complex": "the complex twin of `real`",
    "f16": "floating point of 16 bits, IEEE",
    "bf16": "floating point of 16 bits with the exponent of f32",
    "f32": "floating point of 32 bits",
    "f64": "floating point of 64 bits",
    "c64": "complex, of two f32",
    "c128": "complex, of two f64",
    "i8": "integer of 8 bits",
    "i16": "integer of 16 bits",
    "i32": "integer of 32 bits",
    "i64": "integer of 64 bits",
    "bool": "True or False; `and`, `or` and `not` are its operators",
    "key": "a random-number key; `fold(rng, k)` derives others",
    "weights": "the weights of a module: `weights(f)`",
}
CONSTRAINTS = {
    "free": "any real number",
    "positive": "larger than 0",
    "nonneg": "at least 0",
    "unit": "from 0 to 1",
    "interval": "between two bounds: `interval(0.1, 2)`",
    "simplex": "the last axis is at least 0 and sums to 1",
}
ATTRIBUTES = {
    "T": "the last two axes exchanged; a vector stays",
    "H": "the conjugate transpose",
    "weights": "the weights of the module, as a value",
}
