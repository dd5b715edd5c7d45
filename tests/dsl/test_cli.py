"""The command line: what it prints, what it writes, how it ends."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import unspool as us
from unspool.dsl.cli import main
from unspool.dsl.sizes import choose_sizes

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs"
LASSO, TV = PROGRAMS / "lasso.us", PROGRAMS / "tv.us"


@dataclass
class Done:
    code: int
    out: str
    err: str


Dsl = Callable[..., Done]


@pytest.fixture
def dsl(capfd: pytest.CaptureFixture[str]) -> Dsl:
    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Done(int(stop.value.code or 0), out, err)

    return run


def flat(text: str) -> str:
    """Text without the frames and line breaks of usage messages."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def test_check(dsl: Dsl, tmp_path: Path) -> None:
    done = dsl("check", LASSO, TV)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{LASSO}: ok (ista, fista, lista, iht)\n{TV}: ok (tv)\n"
    bad = tmp_path / "bad.us"
    bad.write_text("algorithm f(y: real[m]) -> real[m]:\n    a = y @ z\n    return q\n")
    done = dsl("check", bad, TV)
    assert done.code == 1
    assert done.out == f"{TV}: ok (tv)\n"
    assert done.err.count(": error US") == 2
    assert f"{bad}:2:13: error US" in done.err
    assert "Traceback" not in done.err


def test_check_of_a_file_that_is_no_text(dsl: Dsl, tmp_path: Path) -> None:
    (tmp_path / "x.us").write_bytes(bytes(range(256)))
    done = dsl("check", tmp_path / "x.us")
    assert done.code == 1
    assert "error US" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage"),
        (["frobnicate"], "No such command"),
        (["check"], "Missing argument"),
        (["check", "nowhere.us"], "does not exist"),
        (["run", "nowhere.us:f"], "there is no file 'nowhere.us'"),
        (["run", LASSO], "name one of the algorithms"),
        (["run", f"{LASSO}:istta"], "has no algorithm 'istta'; it has ista"),
        (["run", f"{LASSO}:ista", "--size", "m"], "'' is not an integer of at least 1"),
        (["run", f"{LASSO}:ista", "--size", "m=0"], "'0' is not an integer of at least 1"),
        (["run", f"{LASSO}:ista", "--batch", "-1"], "is not an integer of at least 0"),
        (["run", f"{LASSO}:ista", "-K", "J=3"], "ista has no iteration count 'J'; it has K"),
        (["run", f"{PROGRAMS / 'triangular.us'}:syrk", "-K", "3"], "it has none"),
        (["run", f"{PROGRAMS / 'em.us'}:gmm", "--size", "n=5,d=2,c=2", "-o", "a.npy", "-o", "b.npy"], "gmm has 3 results"),
        (["compile", f"{LASSO}:ista", "--emit", "ptx"], "'ptx' is none of graph, loops, dependences, schedule, steps, tree, source, c"),
    ],
)
def test_wrong_use(dsl: Dsl, arguments: list[object], message: str) -> None:
    done = dsl(*arguments)
    assert done.code == 2
    assert message in flat(done.err + done.out)


def test_run_on_files(dsl: Dsl, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    A, y = random.standard_normal((6, 9)), random.standard_normal((3, 6))
    np.save(tmp_path / "A.npy", A)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "both.npz", A=A, y=y)
    want = us.load(LASSO).ista(A, y, K=7)
    for inputs in (["-i", f"A={tmp_path}/A.npy", "--input", f"y={tmp_path}/y.npy"], ["-i", tmp_path / "both.npz"]):
        out = tmp_path / "x.npy"
        done = dsl("run", f"{LASSO}:ista", *inputs, "-K", 7, "--out", out)
        assert (done.code, done.err) == (0, "")
        assert re.fullmatch(r"result 0: float64\[3, 9\], min .*, mean .*, max .* -> .*x\.npy\n", done.out)
        assert np.array_equal(np.load(out), want)
        out.unlink()


def test_run_makes_up_what_is_missing_and_says_so(dsl: Dsl, tmp_path: Path) -> None:
    first, second = tmp_path / "1.npy", tmp_path / "2.npy"
    done = dsl("run", TV, "--out", first, "-K", 2)
    assert done.code == 0
    assert done.err == "tv: sizes h=256, w=256; batch 1; random image, strength (seed 0)\n"
    dsl("run", f"{TV}:tv", "--out", second, "-K", 2)
    assert np.array_equal(np.load(first), np.load(second))
    done = dsl("run", TV, "--size", "h=5,w=4", "--batch", "2,3", "--dtype", "f64", "-i", "strength=0.2", "-o", first)
    assert done.err == "tv: batch 2x3; random image (seed 0)\n"
    assert (np.load(first).shape, np.load(first).dtype) == ((2, 3, 5, 4), np.float64)


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.us")), ids=lambda p: p.stem)
def test_every_program_runs_on_made_up_data(dsl: Dsl, path: Path) -> None:
    program = us.load(path)
    for handle in program:
        names = sorted({n for i in handle.algorithm.inputs for s in i.type.shape for n in s.names()})
        done = dsl("run", f"{path}:{handle.algorithm.name}", "--size", ",".join(f"{n}=4" for n in names), "-K", 2) \
            if handle.algorithm.iterations else dsl("run", f"{path}:{handle.algorithm.name}")  # fmt: skip
        if handle.algorithm.modules:
            assert done.code == 1
            assert "needs learned operators (denoise)" in done.err
        else:
            assert (done.code, "Traceback" in done.err) == (0, False), done.err


@pytest.mark.parametrize(("dtype", "kept"), [("f16", "float16"), ("bf16", "float32")])  # NumPy has no bfloat16
def test_made_up_data_in_half_precision(dsl: Dsl, dtype: str, kept: str) -> None:
    done = dsl("run", TV, "--size", "h=5,w=4", "--dtype", dtype, "-K", 2)
    assert (done.code, done.err) == (0, "tv: batch 1; random image, strength (seed 0)\n")
    assert done.out.startswith(f"result 0: {kept}[5, 4], min ")


def test_several_results(dsl: Dsl, tmp_path: Path) -> None:
    gmm = f"{PROGRAMS / 'em.us'}:gmm"
    sizes = ["--size", "n=5,d=2,c=3", "-K", 2]
    assert dsl("run", gmm, *sizes, "-o", tmp_path / "all.npz").code == 0
    names = [tmp_path / f"{i}.npy" for i in range(3)]
    assert dsl("run", gmm, *sizes, *[a for n in names for a in ("-o", n)]).code == 0
    with np.load(tmp_path / "all.npz") as archive:
        for i, name in enumerate(names):
            assert np.array_equal(archive[f"r{i}"], np.load(name))
    done = dsl("run", gmm, *sizes, "-o", tmp_path / "one.npy")
    assert done.code == 1
    assert "there are 3 results: name an .npz file" in done.err


def corrupt(folder: Path) -> list[tuple[str, str]]:
    """(argument of --input, words of the message) of files that cannot be read."""
    (folder / "text.npy").write_text("not numbers")
    np.save(folder / "whole.npy", np.ones(1000))
    (folder / "cut.npy").write_bytes((folder / "whole.npy").read_bytes()[:500])
    (folder / "empty.npy").write_bytes(b"")
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "pickle.npy").write_bytes(pickle.dumps([1]))
    np.savez(folder / "good.npz", q=np.ones(3), r=np.ones(3))
    (folder / "cut.npz").write_bytes((folder / "good.npz").read_bytes()[:200])
    with zipfile.ZipFile(folder / "odd.npz", "w") as archive:
        archive.writestr("y.npy", b"nothing")
    return [
        (f"y={folder}/text.npy", "cannot read"),
        (f"y={folder}/cut.npy", "cannot read"),
        (f"y={folder}/empty.npy", "cannot read"),
        (f"y={folder}/objects.npy", "it holds Python objects"),
        (f"y={folder}/pickle.npy", "it holds Python objects"),
        (f"y={folder}/cut.npz", "cannot read"),
        (f"y={folder}/odd.npz", "cannot read"),
        (f"y={folder}/nowhere.npy", "there is no file"),
        (f"y={folder}", "cannot read"),
        (f"y={folder}/good.npz", "has no entry 'y'; it has q, r"),
        (f"{folder}/good.npz", "none of the inputs A, y"),
        (f"{folder}/whole.npy", "write NAME="),
        (f"z={folder}/whole.npy", "there is no input 'z'; there are A, y"),
        ("y=0.5", "y needs at least 1 axis"),
    ]


def test_input_files_that_do_not_fit(dsl: Dsl, tmp_path: Path) -> None:
    for argument, words in corrupt(tmp_path):
        done = dsl("run", f"{LASSO}:ista", "-i", argument)
        assert done.code == 1, argument
        assert done.err.startswith("error: "), argument
        assert words in done.err
        assert "Traceback" not in done.err


def test_data_errors(dsl: Dsl, tmp_path: Path) -> None:
    np.save(tmp_path / "A.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "y.npy", np.ones(2))
    done = dsl("run", f"{LASSO}:ista", "-i", f"A={tmp_path}/A.npy", "-i", f"y={tmp_path}/y.npy")
    assert (done.code, done.err) == (1, "error: mixed precisions: A is f32 and y is f64; convert one of them\n")
    done = dsl("run", f"{LASSO}:ista", "--size", "q=3")
    assert (done.code, done.err) == (1, "error: ista has no size 'q'; it has m, n\n")
    done = dsl("run", TV, "--size", "h=1")
    assert done.code == 1
    assert "no sizes found that satisfy h >= 2, w >= 2" in done.err
    done = dsl("run", TV, "--size", "h=4,w=4", "--out", "/nowhere/x.npy")
    assert done.code == 1
    assert "cannot write /nowhere/x.npy" in done.err
    done = dsl("run", TV, "--target", "abacus")
    names = "cpu, c, numba, cuda, emulated, triton, triton_interpreted, tvm, tvm_cuda, tvm_emulated, interpreter"
    assert (done.code, done.err.splitlines()[-1]) == (1, f"error: no target is called 'abacus'; there are {names}")
    done = dsl("run", TV, "--dtype", "f31")
    assert done.code == 1
    assert "dtype is one of" in done.err


def test_compile(dsl: Dsl, tmp_path: Path) -> None:
    done = dsl("compile", f"{LASSO}:ista", "--size", "m=5,n=6", "--emit", "graph,loops,schedule,c,explain", "-o", tmp_path / "d")
    assert (done.code, done.err) == (0, "")
    texts = {p.suffix: p.read_text() for p in (tmp_path / "d").iterdir()}
    assert sorted(texts) == [".c", ".graph", ".loops", ".schedule", ".txt"]
    kernel = us.load(LASSO).ista.compile(shapes={"m": 5, "n": 6})
    assert texts[".graph"].startswith("graph ista(%A: f32[5, 6], %y: f32[5], %step: f32[K], %lam: f32[K])")
    assert texts[".c"] == kernel.source.rstrip("\n") + "\n"
    done = dsl("compile", f"{LASSO}:ista", "--size", "m=5,n=6", "--emit", "schedule")
    assert done.out.rstrip("\n") + "\n" == texts[".schedule"]
    empty = tmp_path / "empty.schedule"
    empty.write_text("")
    done = dsl("compile", f"{LASSO}:ista", "--size", "m=5,n=6", "--emit", "c", "--schedule", empty)
    assert done.code == 0
    assert done.out.strip() != texts[".c"].strip()
    empty.write_text("frobnicate S1")
    done = dsl("compile", f"{LASSO}:ista", "--size", "m=5,n=6", "--schedule", empty)
    assert done.code == 1
    assert "frobnicate" in done.err
    done = dsl("compile", f"{LASSO}:ista")
    assert done.err == "ista: sizes m=256, n=256\n"


def test_the_source_of_each_target(dsl: Dsl, tmp_path: Path) -> None:
    for target, suffix, begin in (("c", ".c", "#define _GNU_SOURCE"), ("numba", ".py", "from unspool")):
        done = dsl("compile", f"{LASSO}:ista", "--size", "m=5,n=6", "--target", target, "--emit", "source,asm", "-o", tmp_path / target)
        assert (done.code, done.err) == (0, "")
        texts = {p.suffix: p.read_text() for p in (tmp_path / target).iterdir()}
        assert sorted(texts) == sorted([suffix, ".s"])
        assert texts[suffix].startswith(begin)
        assert "us_ista" in texts[".s"]
    done = dsl("compile", f"{LASSO}:ista", "--size", "m=5,n=6", "--target", "numba", "--emit", "c")
    assert done.code == 2
    assert "use --emit source, or --target c" in re.sub(r"[│\s]+", " ", done.err)


def test_targets(dsl: Dsl) -> None:
    done = dsl("targets")
    assert done.code == 0
    for name in ("c", "numba", "interpreter"):
        assert re.search(rf"^{name} ", done.out, re.M)
    assert f"numba {importlib.metadata.version('numba')}" in done.out
    assert "(default)" in done.out


def test_sizes_that_satisfy_where() -> None:
    def sizes(where: str, **known: int) -> dict[str, int]:
        program = us.loads(f"algorithm f(x: real[m, n]) -> real[m, n] where {where}:\n    return x\n")
        return choose_sizes(program.f.algorithm, known)

    assert sizes("m >= 3") == {"m": 256, "n": 256}
    assert sizes("m < n") == {"m": 256, "n": 257}
    assert sizes("m == 2 * n + 1") == {"m": 513, "n": 256}
    assert sizes("m <= n", m=300) == {"m": 300, "n": 512}
    assert sizes("m <= 10, n == m") == {"m": 8, "n": 8}
    with pytest.raises(us.DataError, match="give some by --size"):
        sizes("m > n, n > m")


def test_python_m_unspool_and_a_switch() -> None:
    command = [sys.executable, "-m", "unspool", "run", str(TV), "--size", "h=4,w=4", "-K", "1"]
    environment = {**os.environ, "UNSPOOL_SEED": "7", "UNSPOOL_TARGET": "interpreter", "UNSPOOL_DEBUG": "many"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert "random image, strength (seed 7)" in done.stderr
    assert "UNSPOOL_DEBUG=many is ignored: it takes an integer in 0..5" in done.stderr


def test_importing_the_library_and_checking_loads_no_torch() -> None:
    script = (
        "import sys, unspool as us\n"
        "heavy = {'torch', 'islpy', 'numpy', 'networkx', 'lark'}\n"
        "assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))\n"
        f"us.load({str(LASSO)!r})\n"
        "assert not {'torch', 'islpy'} & set(sys.modules)\n"
        "assert 'load' in dir(us)\n"
        "us.key(1); assert 'torch' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
