"""The folders' story, enforced: who may import whom, read from the text of the files (nothing is imported)."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("unspool", "stdlib", "dsl", "backends", "compiler")

# The first entry that a path starts with counts. A file imports only from its own folder and from lower floors.
FLOORS = {
    "compiler/diagnostics.py": 0,
    "compiler/nearest.py": 0,
    "compiler/options.py": 0,
    "compiler/origin.py": 0,
    "compiler/snippet.py": 0,
    "compiler/version.py": 0,
    "compiler/target.py": 1,
    "compiler/stages.py": 1,
    "compiler/graph/": 2,
    "compiler/loops/": 3,
    "compiler/search/": 4,
    "compiler/driver.py": 5,
    "compiler/resume.py": 5,
    "backends/": 6,
    "dsl/": 7,
    "stdlib/": 8,
    "unspool/": 9,
}

# `dsl check` answers within half a second: what it reaches by imports at module level loads none of these.
HEAVY = {"torch", "islpy"}
LIGHT_DOORS = ("dsl/cli.py", "dsl/lsp/server.py", "dsl/program.py", "unspool/__init__.py", "unspool/__main__.py")


def library_files() -> list[str]:
    """Every Python file of the library, as a path from the root; the links below ``unspool/`` are not followed."""
    found = []
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            relative = path.relative_to(ROOT)
            if folder != "unspool" or len(relative.parts) == 2:
                found.append(relative.as_posix())
    return sorted(found)


@cache
def imports(file: str) -> tuple[tuple[int, str, bool], ...]:
    """(line, what, at module level) of every import; ``what`` is ``/path/from/root``, or a foreign module's name."""
    return tuple(_imports(file, ast.parse((ROOT / file).read_text(encoding="utf-8")), True))


def _imports(file: str, node: ast.AST, top: bool) -> Iterator[tuple[int, str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name, top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            yield child.lineno, child.module or "", top
        elif isinstance(child, ast.ImportFrom):
            module = "/" + "/".join(_base(file, child.level) + (child.module or "").split(".")).rstrip("/")
            for alias in child.names:  # `from ..loops import expand` names the module expand
                inner = f"{module}/{alias.name}".replace("//", "/")
                yield child.lineno, inner if resolve(inner) else module, top
        else:
            function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(file, child, top and not function and not _type_checking(child))


def _base(file: str, level: int) -> list[str]:
    # The facade lies beside the other folders, yet they are below it by name.
    folders = Path(file).parent.parts
    package = ["unspool"] if folders == ("unspool",) else ["unspool", *folders]
    kept = package[: len(package) - level + 1]
    assert kept, f"{file}: a relative import that leaves the package"
    return kept[1:]


def _type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def resolve(target: str) -> str | None:
    """The library file that a relative import names; None for a foreign module and for what is not there."""
    if not target.startswith("/"):
        return None
    name = target[1:]
    candidates = (f"{name}.py", f"{name}/__init__.py", f"unspool/{name}.py")
    return next((candidate for candidate in candidates if (ROOT / candidate).is_file()), None)


def floor(file: str) -> int:
    return next((number for prefix, number in FLOORS.items() if file.startswith(prefix)), -1)


def test_every_file_has_a_floor() -> None:
    assert [file for file in library_files() if floor(file) < 0 and not file.endswith("__init__.py")] == []


def test_lower_floors_never_import_higher_ones() -> None:
    faults = []
    for file in library_files():
        for line, target, _ in imports(file):
            found = resolve(target)
            if found and not found.endswith("__init__.py") and floor(found) > floor(file):
                faults.append(f"{file}:{line} (floor {floor(file)}) imports {found} (floor {floor(found)})")
    assert faults == []


def test_imports_inside_the_library_are_relative_and_name_a_module() -> None:
    faults = []
    for file in library_files():
        for line, target, _ in imports(file):
            if target.split(".")[0] in FOLDERS:
                faults.append(f"{file}:{line} imports {target} by its full name")
            elif (file, target) == ("unspool/__init__.py", "/stdlib"):
                continue  # the facade hands out the folder itself, as us.stdlib
            elif target.startswith("/") and (resolve(target) or "__init__.py").endswith("__init__.py"):
                faults.append(f"{file}:{line} imports {target}, which is no module")
    assert faults == []


def test_a_planted_upward_import_is_seen() -> None:
    planted = ast.parse("def f():\n    from ...dsl.api import load\n")
    ((line, target, top),) = _imports("compiler/graph/graph.py", planted, True)
    assert (line, target, top) == (2, "/dsl/api", False)
    assert floor("dsl/api.py") > floor("compiler/graph/graph.py")


def test_packages_in_pyproject_are_those_on_disk() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    listed = config["packages"]
    on_disk = {"unspool"} | {
        ".".join(["unspool", *Path(file).parent.parts]) for file in library_files() if not file.startswith("unspool/")
    }
    on_disk.add("unspool.docs.errors")  # no code: the pages that editors link to
    assert sorted(listed) == sorted(on_disk)
    assert config["package-dir"] == {f"unspool.{folder}": folder for folder in (*FOLDERS, "docs") if folder != "unspool"}


def test_data_files_are_packaged() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    patterns = config["package-data"]["*"]
    data = [path for folder in FOLDERS[1:] for path in (ROOT / folder).rglob("*") if path.is_file()]
    data = [path for path in data if path.suffix not in (".py", ".pyc")]
    assert [path.name for path in data if not any(path.match(pattern) for pattern in patterns)] == []


def test_only_the_isl_files_import_islpy() -> None:
    users = {file for file in library_files() for _, target, _ in imports(file) if target.split(".")[0] == "islpy"}
    assert users <= {"compiler/loops/isl.py", "compiler/loops/isl_scheduler.py", "compiler/loops/lifetimes.py"}


def test_the_environment_is_read_in_options_only() -> None:
    readers = []
    for file in library_files():
        text = (ROOT / file).read_text(encoding="utf-8")
        if file != "compiler/options.py" and ("os.environ" in text or "getenv" in text):
            readers.append(file)
    assert readers == []


def reached_at_module_level(file: str) -> dict[str, str]:
    """Foreign modules loaded when ``file`` is, each with the library file that asks for it."""
    seen, todo, foreign = {file}, [file], {}
    while todo:
        current = todo.pop()
        for _, target, top in imports(current):
            found = resolve(target)
            if top and not target.startswith("/"):
                foreign.setdefault(target.split(".")[0], current)
            elif top and found and found not in seen:
                seen.add(found)
                todo.append(found)
    return foreign


@pytest.mark.parametrize("door", LIGHT_DOORS)
def test_the_path_of_dsl_check_loads_nothing_heavy(door: str) -> None:
    reached = reached_at_module_level(door)
    assert {name: asked_by for name, asked_by in reached.items() if name in HEAVY} == {}


def test_dsl_check_runs_without_torch_and_fast() -> None:
    program = ROOT / "tests" / "programs" / "lasso.us"
    script = (
        "import json, sys, time; from unspool.dsl.cli import main\n"
        f"sys.argv = ['dsl', 'check', {str(program)!r}]\n"
        "try: main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "else: code = 0\n"
        f"heavy = sorted({HEAVY!r} & set(sys.modules))\n"
        "print(json.dumps([code or 0, heavy, time.process_time()]), file=sys.stderr)"
    )
    seconds = []  # of the processor since the process began, so that other load does not count
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        code, heavy, elapsed = json.loads(done.stderr.splitlines()[-1])
        assert (code, heavy) == (0, []), done.stdout + done.stderr
        seconds.append(elapsed)
    assert min(seconds) < 0.5, f"dsl check took {min(seconds):.2f} s"
