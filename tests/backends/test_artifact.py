"""Kernel files: what comes back runs as before, without a compiler; what is damaged or foreign is refused before it runs."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us
from unspool.backends import artifact, artifact_file, artifact_machine, artifact_native, build
from unspool.backends.kernel import Kernel
from unspool.compiler import options
from unspool.dsl.cli import main

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs"
ISTA = us.load(PROGRAMS / "lasso.us").ista
#: The like of it that numba compiles fast: no products, hence no tiles.
SMALL = us.loads(
    """
algorithm ista(given A: real[m, n], y: real[m]) -> real[n]:
    iterations K = 16
    param step[K]: positive = 0.05
    param lam[K]: nonneg = 0.1
    x = zeros(n)
    for k in 0..K:
        z = x + step[k] * y[0] * A[0]
        x = sign(z) * max(abs(z) - lam[k] * step[k], 0)
    return x
"""
).ista
OF_TARGET = {"c": ISTA, "numba": SMALL}
SHAPES = {"m": 5, "n": 7, "batch": (3,)}
MIXED = us.loads(
    """
algorithm mixed(A: real[n, n], y: real[n]) -> real[n]:
    iterations K = 3
    param step[K]: positive = 0.1
    objective J(x) = sum((A @ x - y)**2)
    L = cholesky(A @ A.T + eye(n))
    x = zeros(n)
    for k in 0..K:
        x = x - step[k] * (L @ x - y)
    return x

algorithm learned(y: real[n]) -> real[n]:
    iterations K = 2
    param step[K]: positive = 0.1
    module f: (real[n]) -> real[n]
    x = zeros(n)
    for k in 0..K:
        x = f(x - step[k] * (x - y))
    return x

algorithm spectrum(z: complex[n], w: real[n]) -> complex[n]:
    iterations K = 2
    for k in 0..K:
        z = z * w + conj(z)
    return z

algorithm nothing(A: real[n, n]) -> real[n, n]:
    return inv(A)
"""
)


def operands(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 7, generator=generator, dtype=dtype), torch.randn(3, 5, generator=generator, dtype=dtype)


#: Kernel files with gradients, one for each target that makes native code; made when they are first asked for.
FILES: dict[str, Path] = {}


@pytest.fixture(scope="module")
def file_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The kernel file with gradients of a target."""

    def made(target: str) -> Path:
        if target not in FILES:
            path = tmp_path_factory.mktemp("artifact") / "ista.usk"
            OF_TARGET[target].compile(SHAPES, K=4, target=target).save(path, backward=True)
            FILES[target] = path
        return FILES[target]

    return made


@pytest.fixture
def whole(file_of: Callable[[str], Path]) -> Path:
    """The one of target c, where it does not matter."""
    return file_of("c")


@pytest.fixture(params=["c", "numba"])
def target(request: pytest.FixtureRequest) -> str:
    """Each target that makes native code."""
    return str(request.param)


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> bytes:
    """The bytes of a file whose manifest and entries were changed, with digests that fit."""
    manifest, entries = artifact_file.unpack(path.read_bytes(), "x")
    change(manifest, entries)
    return artifact_file.pack({k: v for k, v in manifest.items() if k not in ("format", "entries")}, entries)


def told(kernel: Kernel) -> list[dict[str, Any]]:
    """The report of each kernel, the backward one included, without lines of the program and times."""
    kernels = kernel.report(gradients=True)["kernels"]
    for found in kernels:
        del found["compile_seconds"]
        for body in (found, found.get("batch_tile", found)):
            body["statements"] = [{k: s[k] for k in ("statement", "domain", "text", "flops")} for s in body["statements"]]
    return kernels


def test_a_loaded_kernel_is_called_like_the_algorithm(target: str, file_of: Callable[[str], Path]) -> None:
    before = OF_TARGET[target].compile(SHAPES, K=4, target=target)
    A, y = operands()
    path = file_of(target)
    compiled = build.statistics.compiled
    kernel = us.load_kernel(path)
    assert torch.equal(kernel(A, y), before(A, y))
    assert torch.equal(kernel(A, y[0], K=9), before(A, y[0], K=9))
    assert torch.equal(kernel(A, y.expand(2, 3, 5), step=0.01), before(A, y.expand(2, 3, 5), step=0.01))
    found = kernel(A.numpy(), y.numpy())
    assert isinstance(found, np.ndarray)
    assert np.array_equal(found, before(A, y).numpy())
    assert build.statistics.compiled == compiled
    for text in ("graph", "loops", "dependences", "schedule", "steps", "tree", "source"):
        assert getattr(kernel, text) == getattr(before, text)
    assert "from a kernel file" in kernel.explain()
    assert told(kernel) == told(before)
    with pytest.raises(us.DataError, match=r"A is real\[m, n\] and needs shape \(5, 7\)"):
        kernel(torch.randn(5, 8), y)
    with pytest.raises(us.DataError, match="mixed precisions"):
        kernel(*operands(torch.float64))


def test_gradients_of_a_loaded_kernel(target: str, file_of: Callable[[str], Path]) -> None:
    kernel = us.load_kernel(file_of(target))
    step = torch.full((4,), 0.05)
    for wrt in ((0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)):
        found, wanted = [], []
        for call, into in ((kernel, found), (OF_TARGET[target].compile(SHAPES, K=4, target="interpreter"), wanted)):
            values = [*operands(), step.clone()]
            for i in wrt:
                values[i].requires_grad_()
            call(values[0], values[1], step=values[2]).pow(2).sum().backward()
            into += [values[i].grad for i in wrt]
        for a, b in zip(found, wanted):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    A, y = operands()
    y.requires_grad_()
    (g,) = torch.autograd.grad(kernel(A, y).pow(2).sum(), y, create_graph=True)
    with pytest.raises(us.DataError, match="holds no derivatives of gradients"):
        g.sum().backward()
    with pytest.raises(us.DataError, match="no forward-mode derivative"):
        torch.func.jvp(lambda v: kernel(A, v), (y.detach(),), (y.detach(),))


def test_a_loaded_kernel_in_a_compiled_model_is_not_taken_for_the_program(tmp_path: Path) -> None:
    program = us.loads("algorithm wave(x: real[n]) -> real[n]:\n    return sin(x)\n")
    kernel, x = program.wave.compile({"n": 4}, target="c"), torch.randn(2, 4, requires_grad=True)
    kernel.save(tmp_path / "wave.usk")  # without gradients
    stored = torch.compile(us.load_kernel(tmp_path / "wave.usk"), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(stored(x.detach()), x.detach().sin())
    compiled = torch.compile(lambda x: kernel(x), backend="aot_eager", fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(x).sum(), x)
    torch.testing.assert_close(gradient, x.detach().cos())


def test_results_without_a_cotangent(tmp_path: Path) -> None:
    program = us.loads("algorithm two(x: real[n], p: real[n]) -> (real[n], real):\n    return x * p, sum(exp(x))\n")
    program.two.compile({"n": 4}).save(tmp_path / "two.usk", backward=True)
    kernel = us.load_kernel(tmp_path / "two.usk")
    x, p = torch.randn(2, 4), torch.randn(4, requires_grad=True)
    x.requires_grad_()
    first, second = kernel(x, p)
    second.sum().backward(retain_graph=True)
    torch.testing.assert_close(x.grad, x.detach().exp())
    first.sum().backward()
    torch.testing.assert_close(p.grad, x.detach().sum(0))


def test_without_gradients_backward_is_a_clear_error(tmp_path: Path) -> None:
    ISTA.compile(SHAPES).save(tmp_path / "x.usk")
    A, y = operands()
    y.requires_grad_()
    found = us.load_kernel(tmp_path / "x.usk")(A, y)
    with pytest.raises(us.DataError, match=r"holds no gradient in y: save it with backward=True$"):
        found.sum().backward()


def test_a_layer_comes_back_with_its_parameters_and_trains(target: str, tmp_path: Path) -> None:
    A, y = operands()
    layer = OF_TARGET[target].build(A=A, K=4, target=target).eval()
    layer.assign(step=torch.linspace(0.01, 0.1, 4), lam=[0.0, 0.1, 0.2, 0.3])
    layer.get_parameter("lam").requires_grad_(False)
    layer.save(tmp_path / "x.usk", backward=True)
    loaded = us.load_kernel(tmp_path / "x.usk")
    assert isinstance(loaded, us.Layer)
    assert torch.equal(loaded(y), layer(y))
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), layer.state_dict().values(), strict=True))
    assert (loaded.training, loaded.get_parameter("lam").requires_grad) == (False, False)
    grads = []
    for one in (layer, loaded, copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))):
        one.zero_grad()
        one(y).pow(2).sum().backward()
        grads.append(one.get_parameter("step").grad)
    assert all(torch.equal(g, grads[0]) for g in grads)
    assert torch.equal(loaded.with_iterations(6)(y), layer.with_iterations(6)(y))
    with pytest.raises(us.DataError, match="compiled for f32, not for f64"):
        loaded.double()(y.double())
    with pytest.raises(us.DataError, match="no kernel that traces x"):
        us.load_kernel(tmp_path / "x.usk")(y, trace=["x"])
    with pytest.raises(us.DataError, match=r"tv needs the size h: shapes=\{'h': \.\.\.\}"):
        us.load(PROGRAMS / "tv.us").tv.build().save(tmp_path / "tv.usk")


@pytest.mark.parametrize("stem", ["tv", "em", "bilevel", "balance", "es"])
def test_programs_come_back(stem: str, tmp_path: Path) -> None:
    for handle in us.load(PROGRAMS / f"{stem}.us"):
        sizes = dict.fromkeys(handle.algorithm.size_names, 6)
        counts = {n: 3 for n, _ in handle.algorithm.iterations}
        kernel = handle.compile(sizes, **counts)
        kernel.save(tmp_path / "x.usk")
        loaded = us.load_kernel(tmp_path / "x.usk")
        generator = torch.Generator().manual_seed(1)
        values: list[Any] = []
        for i in handle.algorithm.inputs:
            shape = [s.evaluate({**sizes, **counts}) for s in i.type.shape]
            if i.type.dtype == "key":
                values.append(us.key(3))
            elif i.type.dtype == "real":
                values.append(torch.rand(shape, generator=generator))
            else:
                values.append(torch.ones(shape, dtype=getattr(torch, i.type.dtype.replace("i", "int"))))
        found, wanted = loaded(*values), kernel(*values)
        for a, b in zip(found if isinstance(found, tuple) else (found,), wanted if isinstance(wanted, tuple) else (wanted,)):
            assert torch.equal(a, b), handle


def test_a_host_program_comes_back_with_its_kernels(target: str, tmp_path: Path) -> None:
    kernel = MIXED.mixed.compile({"n": 4}, dtype="f64", target=target)
    kernel.save(tmp_path / "x.usk", backward=True)
    loaded = us.load_kernel(tmp_path / "x.usk")
    A, y = torch.randn(4, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.equal(loaded(A, y, K=5), kernel(A, y, K=5))
    (a,), (b,) = (torch.autograd.grad(f(A, y).sum(), y) for f in (loaded, kernel))
    torch.testing.assert_close(a, b)
    layer = MIXED.mixed.build(dtype="f64", target=target)
    layer.save(tmp_path / "l.usk", shapes={"n": 4})
    again = us.load_kernel(tmp_path / "l.usk")
    with torch.no_grad():
        assert torch.equal(again(A, y), layer(A, y))
        torch.testing.assert_close(again.objective(y, A, y), layer.objective(y, A, y))


def test_complex_values_and_parameters_by_value(tmp_path: Path) -> None:
    kernel = MIXED.spectrum.compile({"n": 4})
    kernel.save(tmp_path / "z.usk", backward=True)
    z, w = torch.randn(4, dtype=torch.complex64, requires_grad=True), torch.randn(4)
    loaded = us.load_kernel(tmp_path / "z.usk")
    assert torch.equal(loaded(z, w), kernel(z, w))
    loaded(z, w).abs().sum().backward()
    assert z.grad is not None
    for value in (0.5, [0.1, 0.2, 0.3, 0.4], np.full(4, 0.2, np.float32), torch.full((4,), 0.2)):
        ISTA.compile(SHAPES, K=4, step=value).save(tmp_path / "p.usk")
        A, y = operands()
        mine, theirs = us.load_kernel(tmp_path / "p.usk")(A, y), ISTA(A, y, K=4, step=torch.as_tensor(value))
        torch.testing.assert_close(mine, theirs)


def test_learned_operators_are_handed_in_again(tmp_path: Path) -> None:
    f = torch.nn.Linear(3, 3)
    kernel = MIXED.learned.compile({"n": 3}, f=f)
    y = torch.randn(2, 3)
    with pytest.raises(us.CompileError, match="there is no kernel to store"):
        MIXED.nothing.compile({"n": 3}).save(tmp_path / "n.usk")
    kernel.save(tmp_path / "x.usk")
    with pytest.raises(us.DataError, match=r"module f: .* is missing: pass f="):
        us.load_kernel(tmp_path / "x.usk")(y)
    assert torch.equal(us.load_kernel(tmp_path / "x.usk", f=f)(y), kernel(y))
    assert torch.equal(us.load_kernel(tmp_path / "x.usk")(y, f=f), kernel(y))
    with pytest.raises(us.DataError, match="has no learned operator 'g'; it has f"):
        us.load_kernel(tmp_path / "x.usk", g=f)
    layer = MIXED.learned.build(n=3, f=f)
    layer.save(tmp_path / "l.usk", backward=True)
    with pytest.raises(us.DataError, match=r"module f: .* is missing"):
        us.load_kernel(tmp_path / "l.usk")
    assert torch.equal(us.load_kernel(tmp_path / "l.usk", f=f)(y), layer(y))


def test_what_is_not_native_is_refused(tmp_path: Path) -> None:
    with pytest.raises(us.CompileError, match="compiled for target interpreter, which makes no native code"):
        ISTA.compile(SHAPES, target="interpreter").save(tmp_path / "x.usk")
    assert list(tmp_path.iterdir()) == []


def test_it_runs_where_there_is_no_compiler(target: str, file_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Neither a C compiler nor numba, which is hidden."""
    script = (
        "import sys, numpy as np, unspool as us\n"
        "sys.modules['numba'] = None\n"
        f"kernel = us.load_kernel({str(file_of(target))!r})\n"
        "A, y = np.ones((5, 7), np.float32) / 9, np.ones((3, 5), np.float32)\n"
        "print(kernel(A, y).sum())\n"
        "import torch; t = torch.ones(3, 5, requires_grad=True); kernel(torch.as_tensor(A), t).sum().backward()\n"
        "assert 'subprocess' not in sys.modules or not us.options.current.cache.exists()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("CC", "PATH")}
    environment |= {"CC": "/nowhere/cc", "PATH": str(tmp_path), "UNSPOOL_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    A, y = np.ones((5, 7), np.float32) / 9, np.ones((3, 5), np.float32)
    assert float(done.stdout) == pytest.approx(float(OF_TARGET[target](A, y, K=4, target="interpreter").sum()), rel=1e-5)


def test_another_machine(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = artifact_machine.features()
    monkeypatch.setattr(artifact_machine, "features", lambda: tuple(f for f in here if f not in ("sse2", "fp")))
    with pytest.raises(us.DataError, match=r"compiled for a processor with (sse2|fp), which this one has not"):
        us.load_kernel(whole)
    monkeypatch.setattr(artifact_machine, "features", lambda: (*here, "more"))
    us.load_kernel(whole)
    for name, value, words in (("system", "Plan9", "the system"), ("machine", "vax", "the architecture")):
        with monkeypatch.context() as patch:
            patch.setattr(f"platform.{name}", lambda value=value: value)
            with pytest.raises(us.DataError, match=f"was compiled for {words} .*, and this is {value}"):
                us.load_kernel(whole)


def test_another_format(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, entries = artifact_file.unpack(whole.read_bytes(), "x")
    del manifest["entries"], manifest["format"]
    monkeypatch.setattr(artifact_file, "FORMAT", 7)
    (tmp_path / "x.usk").write_bytes(artifact_file.pack(manifest, entries))
    monkeypatch.undo()
    with pytest.raises(us.DataError, match=r"has format 7, written by unspool .*; this version reads format 4"):
        us.load_kernel(tmp_path / "x.usk")


class Loaded(BaseException):
    """A shared object was about to be loaded."""


def no_loading(*_: Any, **__: Any) -> Any:
    raise Loaded


@pytest.mark.parametrize("seed", range(5))
def test_random_damage_is_always_one_error(seed: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", no_loading)
    data, generator = whole.read_bytes(), random.Random(seed)
    path = tmp_path / "x.usk"
    for _ in range(80):
        bad = bytearray(data)
        match generator.randrange(5):
            case 0:
                bad[generator.randrange(len(bad))] ^= 1 << generator.randrange(8)
            case 1:
                del bad[generator.randrange(len(bad)) :]
            case 2:
                at = generator.randrange(len(bad))
                bad[at : at + generator.randrange(1, 400)] = generator.randbytes(generator.randrange(400))
            case 3:
                bad += generator.randbytes(generator.randrange(1, 100))
            case 4:
                bad[: generator.randrange(1, 64)] = b""
        path.write_bytes(bytes(bad))
        with pytest.raises(us.DataError):
            us.load_kernel(path)


@pytest.mark.parametrize("seed", range(5))
def test_damage_with_digests_that_fit_is_one_error_or_none(seed: int, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifests and texts changed by hand: values replaced and dropped, lines of graphs and loops cut, shapes of tensors wrong."""
    monkeypatch.setattr(artifact_native, "kernel", no_loading)  # it is reached by what is still whole
    generator = random.Random(seed)
    odd: list[Any] = [None, -1, 0, 2**70, 1e308, "", "x", "n**n", "9" * 5000, [], {}, [[]], True, "../x", "real"]

    def inner(value: Any) -> None:
        while True:
            keys = list(value) if isinstance(value, dict) else list(range(len(value)))
            key = generator.choice(keys)
            deeper = value[key]
            if isinstance(deeper, (dict, list)) and deeper and generator.random() < 0.8:
                value = deeper
                continue
            if generator.random() < 0.3:
                del value[key]
            else:
                value[key] = generator.choice(odd)
            return

    def change(manifest: dict[str, Any], entries: dict[str, bytes]) -> None:
        if generator.random() < 0.6:
            manifest.pop("entries"), manifest.pop("format")
            inner(manifest)
        else:
            name = generator.choice([n for n in entries if not n.endswith((".c", ".so"))])
            lines = entries[name].splitlines(keepends=True)
            at = generator.randrange(len(lines))
            lines[at] = generator.choice([b"", b"}\n", lines[at][::-1], lines[at].replace(b"f32", b"f64"), b"\xff\n"])
            entries[name] = b"".join(lines)

    for _ in range(40):
        try:
            data = rewritten(whole, change)
        except (ValueError, KeyError):
            continue
        try:
            artifact._File(data, "x.usk")
        except us.DataError:
            continue
        except Loaded:
            continue


def hostile() -> list[tuple[str, Callable[[Path, Path], None], str]]:
    def archive(path: Path, make: Callable[[zipfile.ZipFile], None]) -> None:
        with zipfile.ZipFile(path, "w") as z:
            make(z)
            z.comment = b"0" * 64
        data = path.read_bytes()[:-64]
        path.write_bytes(data + artifact_file._sha256(data).encode())

    def link(z: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("kernels/0.so")
        info.external_attr = 0o120777 << 16
        z.writestr(info, "/etc/passwd")

    def twice(z: zipfile.ZipFile) -> None:
        z.writestr("a.txt", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            z.writestr("a.txt", b"2")

    def bomb(z: zipfile.ZipFile) -> None:
        z.writestr("manifest.json", b"0" * 10_000_000, zipfile.ZIP_DEFLATED)

    def swapped(path: Path, whole: Path) -> None:
        manifest, entries = artifact_file.unpack(whole.read_bytes(), "x")
        entries["kernels/0.so"] = b"\x7fELF" + bytes(100)
        text = json.dumps(manifest).encode()
        archive(path, lambda z: [z.writestr(n, d) for n, d in {"manifest.json": text, **entries}.items()] and None)

    deep = b'{"format": 1, "entries": ' + b"[" * 100_000
    return [
        ("empty", lambda p, _: p.write_bytes(b"") and None, "is no kernel file"),
        ("text", lambda p, _: p.write_text("no kernel") and None, "is no kernel file"),
        ("another zip", lambda p, _: archive(p, lambda z: z.writestr("a.txt", b"")), "it has no manifest.json"),
        ("path", lambda p, _: archive(p, lambda z: z.writestr("../a.txt", b"")), "an entry with the name '../a.txt'"),
        ("absolute", lambda p, _: archive(p, lambda z: z.writestr("/a.txt", b"")), "an entry with the name"),
        ("link", lambda p, _: archive(p, link), "is a link or no regular file"),
        ("twice", lambda p, _: archive(p, twice), "two entries a.txt"),
        ("bomb", lambda p, _: archive(p, bomb), "larger than the file"),
        ("compressed", lambda p, _: archive(p, lambda z: z.writestr("a.txt", b"a" * 9, zipfile.ZIP_DEFLATED)), "compressed"),
        ("many", lambda p, _: archive(p, lambda z: [z.writestr(f"a{i}.txt", b"") for i in range(10_001)] and None), "10001 entries"),
        ("deep", lambda p, _: archive(p, lambda z: z.writestr("manifest.json", deep)), "does not parse"),
        ("digits", lambda p, _: archive(p, lambda z: z.writestr("manifest.json", b"9" * 5000)), "does not parse"),
        ("list", lambda p, _: archive(p, lambda z: z.writestr("manifest.json", b"[1]")), "lacks the format"),
        ("object", swapped, "the digest of kernels/0.so is not the one"),
    ]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), [h[1:] for h in hostile()], ids=[h[0] for h in hostile()])
def test_hostile_files(
    make: Callable[[Path, Path], None], message: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctypes.CDLL", no_loading)
    make(tmp_path / "x.usk", whole)
    with pytest.raises(us.DataError, match=message):
        us.load_kernel(tmp_path / "x.usk")


@pytest.mark.parametrize(
    ("target", "entry", "message"),
    [
        ("c", "kernels/0.so", "cannot be used here: its shared object does not load"),
        ("numba", "kernels/0.o", r"cannot be used here: its object code does not load with llvmlite \S+; it was made by numba "),
    ],
)
@pytest.mark.parametrize("code", [b"\x7fELF" + bytes(200), b"no code"], ids=["elf", "text"])
def test_machine_code_that_does_not_load(
    target: str, entry: str, message: str, code: bytes, file_of: Callable[[str], Path], tmp_path: Path
) -> None:
    def change(_: dict[str, Any], entries: dict[str, bytes]) -> None:
        assert entries[entry]
        entries[entry] = code

    (tmp_path / "x.usk").write_bytes(rewritten(file_of(target), change))
    with pytest.raises(us.DataError, match=message):
        us.load_kernel(tmp_path / "x.usk")


def test_files_of_numba_need_llvmlite(file_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path, find = file_of("numba"), importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "llvmlite" else find(name, *more))
    with pytest.raises(
        us.DataError, match=r"kernels of target numba, which llvmlite loads, and it is not installed here: pip install"
    ):
        us.load_kernel(path)


def test_another_target(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "x.usk").write_bytes(rewritten(whole, lambda manifest, _: manifest.update(target="metal")))
    with pytest.raises(us.DataError, match="holds kernels of target metal, which this version does not load"):
        us.load_kernel(tmp_path / "x.usk")


def test_files_that_cannot_be_read_or_written(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, words in ((tmp_path / "nowhere.usk", "there is no file"), (tmp_path, "cannot read")):
        with pytest.raises(us.DataError, match=words):
            us.load_kernel(path)
    kernel = ISTA.compile(SHAPES)
    for path in (tmp_path / "no" / "x.usk", tmp_path):
        with pytest.raises(us.DataError, match="cannot write"):
            kernel.save(path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "x.usk").write_bytes(b"the file that was there")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(us.DataError, match=r"cannot write .*x\.usk: No space left on device"):
        kernel.save(tmp_path / "x.usk")
    assert [p.name for p in tmp_path.iterdir()] == ["x.usk"]
    assert (tmp_path / "x.usk").read_bytes() == b"the file that was there"


def test_a_damaged_cache_does_not_get_into_a_file(tmp_path: Path) -> None:
    with options.scope(cache=tmp_path / "cache"):
        build.forget()
        kernel = us.load(PROGRAMS / "lasso.us").ista.compile(SHAPES, K=4, target="c")
        (cached,) = (tmp_path / "cache").rglob("*.so")
        cached.rename(cached.with_suffix(".gone"))
        cached.write_bytes(b"no code")
        kernel.save(tmp_path / "x.usk")
    A, y = operands()
    assert torch.equal(us.load_kernel(tmp_path / "x.usk")(A, y), kernel(A, y))


def test_the_command_writes_kernel_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def dsl(*words: object) -> int:
        with pytest.raises(SystemExit) as stop:
            main(["compile", f"{PROGRAMS / 'lasso.us'}:ista", "--size", "m=5,n=7", *map(str, words)])
        return int(stop.value.code or 0)

    path = tmp_path / "ista.usk"
    assert dsl("-o", path, "--gradients", "-K", 4, "--dtype", "f64") == 0
    assert capsys.readouterr().out == f"wrote {path}\n"
    A, y = operands(torch.float64)
    kernel = us.load_kernel(path)
    y.requires_grad_()
    kernel(A, y).sum().backward()
    torch.testing.assert_close(kernel(A, y).detach(), ISTA(A, y.detach(), K=4))
    assert dsl("-o", tmp_path / "no" / "x.usk") == 1
    assert "error: cannot write" in capsys.readouterr().err
    assert dsl("-o", tmp_path / "x.usk", "--target", "interpreter") == 1
    assert "error: ista was compiled for target interpreter" in capsys.readouterr().err
    for words, code, said in (
        ((path, "--gradients"), 0, "kernel ista_backward: "),
        ((path, "--json"), 0, '"dependences": ['),
        ((path, "--dtype", "f64"), 2, "a kernel file is compiled; only --gradients and --json go with it"),
        ((tmp_path / "no.usk",), 1, "error: "),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["explain", *map(str, words)])
        printed = "".join(capsys.readouterr())
        assert int(stop.value.code or 0) == code
        assert said in " ".join(printed.replace("│", " ").split())
    assert dsl("--gradients") == 2
    assert dsl("-o", path.rename(tmp_path / "file")) == 2
