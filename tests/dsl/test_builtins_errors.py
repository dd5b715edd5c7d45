"""Calls that do not fit: the sentence says what came and what is needed, and where; weak operands stay weak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unspool.compiler.graph.types import Size, parse_size
from unspool.dsl.builtins.all import BUILTINS
from unspool.dsl.operand import BuiltinError, Operand, SizeOperand, StructOperand, TupleOperand, Weak, WeakExpression

from .builtin_harness import Caller, Key, Kind, Text, make

V, M, T = np.ones(5), np.ones((3, 4)), np.ones((2, 3, 4))
I, B, C = np.arange(5), np.array([True, False]), np.ones(5) * 1j
n, h = SizeOperand(Size.of("n")), SizeOperand(Size.of("h"))

ERRORS: list[tuple[str, tuple[Any, ...], dict[str, Any], int | str | None, str, str]] = [
    # name, arguments, keywords, the argument to blame, a part of the message, the code
    ("exp", (), {}, None, "exp needs 1 argument; x is missing", "US0402"),
    ("exp", (V, V), {}, 1, "exp takes 1 argument by position, not 2", "US0402"),
    ("exp", (V,), {"base": 2}, "base", "exp has no argument base; its arguments are x", "US0403"),
    ("exp", (B,), {}, 0, "exp takes integer, real or complex values, not bool[s2]", "US0404"),
    ("exp", (Text("a"),), {}, 0, 'exp takes an array or a number, not the text "a"', "US0404"),
    ("exp", (True,), {}, 0, "exp takes integer, real or complex values, not the number True", "US0404"),
    ("floor", (C,), {}, 0, "floor takes integer or real values, not complex[s5]", "US0404"),
    ("max", (V, C), {}, 1, "max takes integer or real values", "US0404"),
    ("max", (V, V), {"axis": 0}, "axis", "max of several arguments is elementwise and takes no axis=", "US0402"),
    ("where", (V, V, V), {}, 0, "where takes bool values, not real[s5]", "US0404"),
    ("clip", (V,), {}, None, "clip needs a bound", "US0404"),
    ("cast", (C, Kind("real")), {}, 0, "imaginary part would be lost", "US0404"),
    ("cast", (V, V), {}, 1, "dtype of cast must be a type name", "US0404"),
    ("cast", (V, Kind("key")), {}, 1, "nothing can be cast to a key", "US0404"),
    ("zeros", (V,), {}, 0, "zeros takes a size here", "US0406"),
    ("zeros", (3, 0), {}, 1, "a size is at least 1, not 0", "US0405"),
    ("arange", (5, 2), {}, None, "arange would have -3 elements", "US0405"),
    ("arange", (0, 5, 0), {}, 2, "the step of arange must not be 0", "US0404"),
    ("linspace", (V, 1, 5), {}, 0, "linspace takes numbers as start and stop", "US0404"),
    ("stack", (V, M), {}, 1, "stack needs arrays of one shape, not real[s5] and real[s3, s4]", "US0405"),
    ("stack", (), {}, None, "stack needs at least one array", "US0402"),
    ("concat", (M, T), {}, 1, "concat needs arrays of one shape (but for axis -2)", "US0405"),
    ("concat", (np.asarray(1.0), 2), {}, 0, "a scalar has none", "US0405"),
    ("reshape", (M, 5), {}, None, "real[s3, s4] has s3 * s4 elements, the new shape 5", "US0405"),
    ("reshape", (M, 5, -1), {}, None, "which 5 does not divide for every size", "US0405"),
    ("reshape", (M, -1, -1), {}, 2, "only one size of reshape may be -1", "US0405"),
    ("permute", (T, 0, 1), {}, None, "permute needs each of the 3 axes of x once, not (0, 1)", "US0405"),
    ("permute", (T, 0, 1, 3), {}, 3, "permute has no axis 3 in an array of rank 3", "US0405"),
    ("expand", (V, 3), {}, 1, "expand cannot make s5 into 3", "US0405"),
    ("expand", (M, 3), {}, None, "expand needs at least 2 sizes", "US0405"),
    ("roll", (V, 1.5), {"axis": 0}, 1, "roll shifts by an integer, not the number 1.5", "US0404"),
    ("pad", (V, -1), {}, 1, "must not be negative", "US0405"),
    ("pad", (V, 1, Text("mirror")), {}, 2, 'pad has no mode "mirror"', "US0404"),
    ("pad", (V, 9, Text("reflect")), {}, 1, 'pad by 9 with mode "reflect" needs an axis of at least 10', "US0405"),
    ("diag", (T,), {}, 0, "diag takes a vector or a matrix", "US0405"),
    ("tril", (V,), {}, 0, "tril takes an array of rank 2 or more", "US0405"),
    ("sum", (V,), {"axes": 0}, "axes", "sum has no argument axes; its arguments are x, axis and keepdims", "US0403"),
    ("sum", (V,), {"axis": 1}, "axis", "sum has no axis 1 in an array of rank 1: axis goes from -1 to 0", "US0405"),
    ("sum", (M,), {"axis": (0, -2)}, "axis", "axis of sum names one axis twice", "US0405"),
    ("sum", (V, 0), {}, 1, "sum takes 1 argument by position, not 2", "US0402"),
    ("sum", (B,), {}, 0, "not bool[s2]", "US0404"),
    ("sum", (V,), {"axis": n}, "axis", "axis of sum must be a literal, not the size n", "US0406"),
    ("sum", (V,), {"keepdims": 1}, "keepdims", "must be True or False", "US0404"),
    ("softmax", (M,), {}, None, "softmax needs axis=", "US0403"),
    ("argmax", (M,), {"axis": (0, 1)}, "axis", "axis of argmax must be a literal", "US0406"),
    ("einsum", (Text("ij,jk->ik"), M), {}, 0, "is for 2 arrays, not 1", "US0402"),
    ("einsum", (Text("...i"), V), {}, 0, "einsum has no `...`", "US0404"),
    ("einsum", (Text("i;j"), V), {}, 0, 'not ";"', "US0404"),
    ("einsum", (Text("i->j"), V), {}, 0, "has the letter j, which no array has", "US0404"),
    ("einsum", (Text("i->ii"), V), {}, 0, "has the letter i twice", "US0404"),
    ("einsum", (Text("ij"), V), {}, 1, 'einsum expects 2 axes ("ij") here, not real[s5]', "US0405"),
    ("einsum", (Text("ij,jk"), M, M), {}, 2, "the sizes s4 and s3 of one index differ", "US0405"),
    ("einsum", (V, V), {}, 0, "spec of einsum must be a string literal", "US0404"),
    ("dot", (V, np.ones(4)), {}, 1, "the sizes s5 and s4 of one index differ", "US0405"),
    ("inv", (M,), {}, 0, "inv takes a square matrix, not s3 by s4", "US0405"),
    ("inv", (V,), {}, 0, "inv takes a matrix, not real[s5]", "US0405"),
    ("solve", (np.ones((3, 3)), V), {}, 1, "needs a right side of s3 rows, not s5", "US0405"),
    ("topk", (M, 0), {}, 1, "the count of topk is at least 1, not 0", "US0405"),
    ("topk", (M, 2.5), {}, 1, "topk takes integer values, not the number 2.5", "US0404"),
    ("gather", (M, I), {"axis": 0}, 1, "needs an index array of the rank of x, 2, not i64[s5]", "US0405"),
    ("gather", (V, V), {"axis": 0}, 1, "gather takes integer values", "US0404"),
    ("one_hot", (I, V), {}, 1, "one_hot takes a size here", "US0406"),
    ("conv1d", (V, T), {}, 0, "conv1d takes an array [channels, length]", "US0405"),
    ("conv1d", (M, T), {"stride": 0}, "stride", "stride of conv1d must be at least 1, not 0", "US0404"),
    ("conv1d", (M, np.ones((2, 5, 2))), {}, 1, "x has s3 channels, the weights are for s5", "US0405"),
    ("conv2d", (T, np.ones((2, 2, 1, 1))), {"padding": (1, 2, 3)}, "padding", "is one number or 2, not 3", "US0405"),
    ("fft2", (V,), {}, 0, "fft2 takes an array of rank 2 or more", "US0405"),
    ("normal", (V, 3), {}, 0, "normal takes a key first, not real[s5]", "US0404"),
    ("normal", (Key(1), 2.5), {}, 1, "normal takes a size here", "US0406"),
    ("randint", (Key(1), 3, 3), {}, 2, "there is no integer r with 3 <= r < 3", "US0404"),
    ("fold", (Key(1),), {}, None, "fold needs an integer after the key", "US0402"),
    ("fold", (Key(1), 0.5), {}, 1, "fold takes integer values, not the number 0.5", "US0404"),
    ("bernoulli", (Key(1), V, 3), {}, 1, "does not broadcast to the sizes", "US0405"),
    ("grad", (V, V), {}, 0, "grad takes a fn first, not real[s5]", "US0404"),
]


@pytest.mark.parametrize("row", ERRORS, ids=lambda r: f"{r[0]}-{r[4][:40]}")
def test_error(row: tuple[Any, ...]) -> None:
    name, args, kwargs, argument, message, code = row
    with pytest.raises(BuiltinError) as caught:
        make(name, *args, **kwargs)
    error = caught.value
    assert message in error.message
    assert error.argument == argument
    assert error.code == code
    assert error.message[0] != error.message[0].upper() or not error.message[0].isalpha()


def test_suggestions() -> None:
    with pytest.raises(BuiltinError) as caught:
        make("sum", V, axs=0)
    assert caught.value.suggestion == "axis="
    with pytest.raises(BuiltinError) as caught:
        make("sum", V, 0)
    assert caught.value.suggestion == "axis= goes by keyword"
    with pytest.raises(BuiltinError) as caught:
        make("mean", B)
    assert caught.value.suggestion == "cast it first: cast(x, real)"


def test_run_time_count_has_no_values() -> None:
    caller = Caller()
    struct = caller.call("topk", M, np.asarray(2))
    assert isinstance(struct, StructOperand)
    assert isinstance(struct.fields["values"], BuiltinError)
    assert "only when it runs" in struct.fields["values"].message


def weak(name: str, *args: Any) -> Operand:
    result = BUILTINS[name].lower(Caller().ctx, tuple(Caller().operand(a) for a in args), {})
    assert not isinstance(result, tuple)
    return result


def test_numbers_stay_weak() -> None:
    assert weak("sqrt", 4) == Weak(2.0)
    assert weak("abs", -3) == Weak(3)
    assert weak("max", 1, 2.5) == Weak(2.5)
    assert weak("round", 2.5) == Weak(2)
    assert weak("relu", -1) == Weak(0)
    assert weak("stop_gradient", 3) == Weak(3)


def test_sizes_stay_sizes() -> None:
    assert weak("max", n, 3) == SizeOperand(parse_size("max(3, n)"))
    assert weak("min", n, h) == SizeOperand(parse_size("min(h, n)"))
    assert weak("floor", n) == n
    root = weak("sqrt", n)
    assert isinstance(root, WeakExpression)
    ctx = Caller().ctx
    assert ctx.common_dtype(root) == "real"
    assert ctx.as_value(root, "f32").type.dtype == "f32"


def test_domain_errors_of_literals_are_left_to_run_time() -> None:
    made = make("log", 0)
    assert made.run()[0].item() == -np.inf
    assert np.isnan(make("sqrt", -1).run()[0].item())


def test_tuples_of_sizes() -> None:
    assert make("zeros", TupleOperand((Weak(2), Weak(3)))).run()[0].shape == (2, 3)
