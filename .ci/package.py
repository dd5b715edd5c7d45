"""Build sdist and wheel (the wheel from the sdist), install the wheel in a fresh environment, and try it there.

The dependencies come from the environment that runs this, so nothing is fetched but the build backend.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "build" / "dist"
FOLDERS = ("unspool", "compiler", "backends", "dsl", "stdlib")
LINKS = [ROOT / "unspool" / name for name in FOLDERS]  # made by `make links`: the same files once more
SUFFIXES = (".py", ".us", ".lark", ".h", ".cpp", ".cuh", ".safetensors", ".typed", ".html", ".css", ".js", ".svg")


def library() -> set[str]:
    """Every file of the library, as a path below the repository."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in SUFFIXES and not any(link in path.parents for link in LINKS):
                found.add(path.relative_to(ROOT).as_posix())
    return found | {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "errors").glob("*.md")}


def build() -> tuple[Path, Path]:
    """The paths of sdist and wheel."""
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(DIST), str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """Both hold every file of the library, and the licence; the wheel nothing else."""
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    missing = (library() | {"pyproject.toml", "README.md", "LICENSE", "NOTICE"}) - packed
    if missing:
        raise SystemExit(f"{sdist.name} lacks {', '.join(sorted(missing))}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    installed = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    wanted = {name if name.startswith("unspool/") else f"unspool/{name}" for name in library()}
    if installed != wanted:
        raise SystemExit(f"{wheel.name} lacks {sorted(wanted - installed)} and should not have {sorted(installed - wanted)}")
    for name in ("LICENSE", "NOTICE", "entry_points.txt"):
        if not any(n.endswith(f"/{name}") for n in names):
            raise SystemExit(f"{wheel.name} lacks {name}")


def install(wheel: Path, folder: Path) -> Path:
    """The Python of a fresh environment with the wheel; dependencies are those of this one."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    # a plain line adds a folder, but does not read the .pth files there: no editable install comes along
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}) + "\n")
    return python


def main() -> None:
    sdist, wheel = build()
    check_contents(sdist, wheel)
    with tempfile.TemporaryDirectory() as scratch:
        python = install(wheel, Path(scratch) / "venv")
        elsewhere = Path(scratch) / "elsewhere"
        elsewhere.mkdir()
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        subprocess.run([python, ROOT / ".ci" / "smoke.py"], cwd=elsewhere, env=environment, check=True)
    print(f"{sdist.name} and {wheel.name}: built, installed, tried")


if __name__ == "__main__":
    main()
