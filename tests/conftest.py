"""What every test may use: the markers, golden files, the programs of the language page. At the end of a run: what the random
programs covered."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before anything imports torch or the library. Passive waiting: the test processes share the cores.
os.environ.setdefault("UNSPOOL_VERIFY", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "0")  # else it compiles a program for each kind of vector registers, to see what there is
os.environ["UNSPOOL_TUNED"] = "off"  # what tuning has found on this machine is no part of what is tested
os.environ["UNSPOOL_SCHEDULER"] = "analytic"  # tests of proposers expect what their estimates choose; those of the learned model ask for it

import pytest
from hypothesis import settings

from tests.browser import chromium

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tests" / "programs"

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = pytest.mark.skip(reason="slow: runs with --slow")
    gpu = pytest.mark.skip(reason="no NVIDIA GPU")
    for item in items:
        if ("slow" in item.keywords or _later(item)) and not config.getoption("--slow"):
            item.add_marker(slow)
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(gpu)
    # Whole programs and pages take longest: they go first, so that no process is left alone with one of them in the end.
    items.sort(key=lambda item: item.path.parent != ROOT / "tests")


def _module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package it is in
        return False


#: Tests of the language server speak its protocol with the package of the extra ``lsp``, which ``dev`` brings.
collect_ignore_glob = [] if os.environ.get("CI") or _module("pygls") else ["dsl/test_lsp_*.py"]


#: What tests with the mark ``needs`` may name: whether it is there, and how it comes.
OPTIONAL: dict[str, tuple[Callable[[], bool], str]] = {
    "c++": (lambda: any(map(shutil.which, filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")))), "a C++ compiler: g++ or clang++"),
    "chromium": (lambda: chromium() is not None, "apt-get install chromium"),
    "nvcc": (lambda: _module("cuda.bindings.nvrtc") or shutil.which("nvcc") is not None, "pip install 'unspool[cuda]', or nvcc on the PATH"),
    "prompt_toolkit": (lambda: _module("prompt_toolkit"), "pip install --editable . once more: it became a dependency"),
    "nvrtc": (lambda: _module("cuda.bindings.nvrtc"), "pip install 'unspool[cuda]'"),
    "triton": (lambda: _module("triton"), "pip install 'unspool[triton]'"),
    "tvm": (lambda: _module("tvm"), "pip install 'unspool[tvm]'"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test whose ``needs`` are not there is skipped; where CI is set, it fails."""
    for name in dict.fromkeys(name for mark in item.iter_markers("needs") for name in mark.args):
        there, how = OPTIONAL[name]
        if not there():
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"needs {name}: {how}")


def _later(item: pytest.Item) -> bool:
    """Whether a case of target numba or tvm, which take seconds to compile what others like it make them compile, too, is one of its module's
    ``NUMBA_LATER`` or ``TVM_LATER``: tests by name, with the parameters that wait for ``--slow`` (none: all of them)."""
    call = getattr(item, "callspec", None)
    if call is None:
        return False
    target = call.params.get("target", call.params.get("backend"))
    table = getattr(item.module, {"numba": "NUMBA_LATER", "tvm": "TVM_LATER"}.get(target, ""), {})  # type: ignore[attr-defined]
    name = item.originalname  # type: ignore[attr-defined]
    if name not in table:
        return False
    return not table[name] or any(value in table[name] for value in call.params.values())


#: Files, and a folder, of tests of what machine code computes and how well, or that share kernels with processes of their own: theirs are
#: compiled as users' kernels are. Elsewhere in the default run the C compiler optimises less. With ``--slow`` it does all, always.
AS_USERS = (
    "backends/test_artifact", "backends/test_build", "backends/test_elementwise", "backends/test_loops", "backends/test_random",
    "backends/test_roofline", "backends/test_select", "backends/test_shares", "backends/test_team", "backends/test_whole_vectors",
    "end_to_end/test_extremes", "loops/test_random_nests", "robust/", "test_polybench",
)  # fmt: skip
#: Files and folders of tests of what programs become: ``-O1`` makes vectors of the loops that are to be vectors, in the order of operations that
#: they have for users, in half the time. Elsewhere the text is what matters: ``-Og`` takes half of that again.
WITH_VECTORS = ("end_to_end/test_program", "end_to_end/test_random_programs", "end_to_end/test_strict", "loops/", "search/")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    from unspool.backends import build

    kept = build.FLAGS
    where = item.path.relative_to(ROOT / "tests").as_posix()
    if not where.startswith(AS_USERS) and not item.config.getoption("--slow"):
        level = "-O1" if where.startswith(WITH_VECTORS) else "-Og"
        build.FLAGS = tuple(level if flag == "-O3" else flag for flag in kept)
    try:
        return (yield)
    finally:
        build.FLAGS = kept


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


# -- what the random programs covered: each process counts, the one that reports adds up ------------------------------

_COVERED: dict[str, Counter[str]] = {"ops": Counter(), "transformations": Counter(), "runs": Counter()}


def _count() -> dict[str, dict[str, int]]:
    helpers = sys.modules.get("tests.helpers")
    if helpers is None:
        return {}
    return {"ops": dict(helpers.USED), "transformations": dict(helpers.STEPS), "runs": dict(helpers.RUNS)}


def _add(counts: dict[str, dict[str, int]]) -> None:
    for name, found in counts.items():
        _COVERED[name].update(found)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is None:
        _add(_count())
    else:
        output["covered"] = _count()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _add(getattr(node, "workeroutput", {}).get("covered", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    runs = _COVERED.pop("runs")
    if runs:
        terminalreporter.write_line("no failure in " + ", ".join(f"{count} {what}" for what, count in sorted(runs.items())))
    programs = _COVERED["transformations"].pop("programs", 0)
    if programs:
        terminalreporter.write_line(f"{programs} random programs compiled and compared with the interpreter")
        for name, found in _COVERED.items():
            terminalreporter.write_line(f"  {name}: " + ", ".join(f"{n} {c}" for n, c in sorted(found.items())))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the scratch memory that calls have asked for."""
    from unspool.backends.workspace import Workspace

    sizes: list[int] = []
    get = Workspace.get

    def counted(self: Workspace, size: int) -> Any:
        sizes.append(size)
        return get(self, size)

    monkeypatch.setattr(Workspace, "get", counted)
    return sizes


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``golden(text)`` compares ``text`` with ``tests/golden/<suite>/<test>.txt``, or writes it with --update-golden."""
    suite = Path(request.node.path).relative_to(ROOT / "tests").with_suffix("")
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in request.node.name).strip("-")
    path = ROOT / "tests" / "golden" / suite / f"{name}.txt"

    def compare(text: str) -> None:
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.is_file(), f"{path.relative_to(ROOT)} is missing: run `make golden` and read what it wrote"
        assert text == path.read_text(encoding="utf-8"), f"differs from {path.relative_to(ROOT)}; if meant: `make golden`"

    return compare


@pytest.fixture(params=sorted(PROGRAMS.glob("*.us")), ids=lambda path: path.stem)
def program_path(request: pytest.FixtureRequest) -> Path:
    """Each program that the language page counts as part of itself."""
    return request.param
