"""``python -m docs.pictures [NAME ...]``: draw pictures of the library's pages anew, those of ``sparse`` or of ``sparse.ista`` alone."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import matplotlib as mpl
import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images" / "stdlib"


def pictures() -> dict[str, Callable[[], Figure]]:
    """What draws each picture, by program and algorithm."""
    found = {}
    for path in sorted(HERE.glob("[!_]*.py")):
        module = importlib.import_module(f"docs.pictures.{path.stem}")
        for name, draw in inspect.getmembers(module, inspect.isfunction):
            if draw.__module__ == module.__name__ and not name.startswith("_"):
                found[f"{path.stem}.{name}"] = draw
    return found


def caption(draw: Callable[[], Figure]) -> str:
    """What stands below a picture."""
    return " ".join((draw.__doc__ or "").split())


def save(name: str, draw: Callable[[], Figure], folder: Path) -> Path:
    """Draw a picture; the same run gives the same file."""
    path = folder / f"{name.replace('.', '/')}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": name}):
        draw().savefig(path, metadata={"Date": None, "Description": caption(draw)})
    return path


def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="All by default.")] = None,
    out: Annotated[Path, typer.Option(help="The folder that the pictures go to.")] = IMAGES,
) -> None:
    """Draw them."""
    known = pictures()
    for wanted in names or [""]:
        chosen = [n for n in known if not wanted or n == wanted or n.startswith(f"{wanted}.")]
        if not chosen:
            raise typer.BadParameter(f"{wanted} is none of {', '.join(known)}")
        for name in chosen:
            print(f"wrote {save(name, known[name], out)}")


if __name__ == "__main__":
    typer.run(main)
