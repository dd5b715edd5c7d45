"""What `make gpu` and `make gpu-bundle` do. It needs nothing but the standard library and pip.

    python .ci/gpu.py bundle     collect the wheels that a machine with a GPU and without network lacks, into build/gpu-bundle
    python .ci/gpu.py tests      the tests marked gpu, on this machine's GPU
    python .ci/gpu.py bench      the unrolled suite on this machine's GPU

The last two run in an environment on top of the python that is called (which has torch, triton, numba, jax, networkx and pytest), with what
of the bundle is missing there. Arguments behind the part go to pytest, or to `python -m benchmarks.gpu`. Results are added to
benchmarks/results/GPU.json.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "build" / "gpu-bundle"
ENVIRONMENT = ROOT / "build" / "gpu-venv"
RESULTS = ROOT / "benchmarks" / "results"
#: What Unspool and its tests import that such a machine may lack, with what these import.
PACKAGES = (
    "islpy lark platformdirs prompt_toolkit wcwidth rich safetensors typer hypothesis markdown-it-py mdurl pygments shellingham click"
    " typing-extensions attrs sortedcontainers cuda-pathfinder mpmath"
).split()
#: As old as the CUDA that torch was built for, whose NVRTC they load.
BINDINGS = {"12": ">=12.8,<13", "13": ">=13,<14"}
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_24_x86_64", "manylinux_2_28_x86_64")
MOST = 60 << 20
#: Seconds that the tests may take.
SECONDS = 570


def main() -> None:
    """Do the part that the command names."""
    part, *more = sys.argv[1:] or ["tests"]
    parts = {"bundle": bundle, "tests": tests, "bench": bench}
    if part not in parts:
        raise SystemExit(f"PART is one of {', '.join(parts)}, not {part!r}")
    parts[part](more)


def bundle(_: list[str]) -> None:
    """Download the wheels, none of which may make the bundle larger than it may be."""
    shutil.rmtree(BUNDLE, ignore_errors=True)
    BUNDLE.mkdir(parents=True)
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", PYTHON]
    subprocess.run([*command, *platforms, "--dest", str(BUNDLE), *wanted()], check=True)
    for major, limits in BINDINGS.items():
        subprocess.run([*command, *platforms, "--dest", str(BUNDLE / f"cuda{major}"), f"cuda-bindings{limits}"], check=True)
    wheels = list(BUNDLE.rglob("*.whl"))
    size = sum(path.stat().st_size for path in wheels)
    print(f"{BUNDLE}: {len(wheels)} wheels, {size / (1 << 20):.1f} MiB")
    if size > MOST:
        raise SystemExit(f"the bundle has {size} bytes, more than {MOST}")


def wanted() -> list[str]:
    """The packages, as far as pyproject.toml has them within its limits."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = []
    for name in PACKAGES:
        lines = [line.strip().split('"')[1] for line in text.splitlines() if line.strip().startswith(f'"{name}') and line[4:5] == '"']
        limits = [line for line in lines if line[len(name) : len(name) + 1] in ("", ">", "<", "=", ";")]
        found.append(limits[0] if limits else name)
    return found


def environment() -> Path:
    """The python of an environment on top of the calling one, with what it lacks of the bundle."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, system_site_packages=True, with_pip=False)
        (next(ENVIRONMENT.glob("lib/python*/site-packages")) / "calling.pth").write_text(
            "\n".join(p for p in sys.path if p.endswith("-packages")) + "\n", encoding="utf-8"
        )
    major = (importlib.import_module("torch").version.cuda or "").partition(".")[0]
    missing = [path for path in sorted([*BUNDLE.glob("*.whl"), *BUNDLE.glob(f"cuda{major}/*.whl")]) if not present(path)]
    if missing:
        site = next(ENVIRONMENT.glob("lib/python*/site-packages"))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade", "--target", str(site)]
        subprocess.run([*command, *map(str, missing)], check=True)
    return python


def present(wheel: Path) -> bool:
    """Whether the package of a wheel is installed where this runs, in whatever version."""
    try:
        importlib.metadata.version(wheel.name.split("-")[0].replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def tests(more: list[str]) -> None:
    """The tests marked gpu; what they found is added to the results."""
    report = ROOT / "build" / "gpu-tests.xml"
    report.unlink(missing_ok=True)
    python = str(environment())
    check = "from unspool.backends.registry import check_usable; check_usable('cuda')"
    done = subprocess.run([python, "-c", check], cwd=ROOT, env=settings(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit((done.stderr.strip().splitlines() or ["the GPU cannot be used"])[-1])
    command = [python, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={report}", "tests/gpu", *more]
    try:
        code = subprocess.run(command, cwd=ROOT, env=settings(), timeout=SECONDS, check=False).returncode
    except subprocess.TimeoutExpired:
        raise SystemExit(f"the tests did not end within {SECONDS} s: name some of them, PYTEST_ARGS='tests/gpu/test_runtime.py'") from None
    if report.exists():
        add(summary(ElementTree.parse(report).getroot()))
    sys.exit(code)


def bench(more: list[str]) -> None:
    """The unrolled suite."""
    sys.exit(subprocess.run([str(environment()), "-m", "benchmarks.gpu", *more], cwd=ROOT, env=settings(), check=False).returncode)


def settings() -> dict[str, str]:
    """The environment of both: kernels of this checkout are kept beside it."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "UNSPOOL_CACHE": os.environ.get("UNSPOOL_CACHE", str(ROOT / "build" / "gpu-cache"))}


def summary(root: Any) -> dict[str, Any]:
    """What a report of pytest says: counts, the names of what failed, and what tests have measured."""
    cases = list(root.iter("testcase"))
    failed = [f"{c.get('classname')}.{c.get('name')}" for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    measured = {p.get("name"): float(p.get("value")) for p in root.iter("property")}
    seconds = sum(float(s.get("time", 0)) for s in root.iter("testsuite"))
    return {"passed": len(cases) - len(failed) - skipped, "skipped": skipped, "failed": failed, "seconds": seconds, "measured": measured}


def add(found: dict[str, Any]) -> None:
    """Add the tests to the results of this GPU."""
    script = (
        "import json, sys; from benchmarks.gpu.__main__ import machine; from benchmarks.gpu import report; facts = machine();"
        "path = report.path_of(facts['gpu'], report.Path(sys.argv[1]));"
        "report.append(path, {'machine': facts, 'tests': json.loads(sys.argv[2])}); print('Written:', path)"
    )
    command = [str(ENVIRONMENT / "bin" / "python"), "-c", script, str(RESULTS), json.dumps(found)]
    subprocess.run(command, cwd=ROOT, env=settings(), check=False)


if __name__ == "__main__":
    main()
