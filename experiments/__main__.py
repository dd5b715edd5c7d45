"""``python -m experiments [NAME ...] [--scale small] [--publish]``: run experiments, print what they found, write their pages."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .report import SCALES, names, publish, run


def main(
    chosen: Annotated[list[str] | None, typer.Argument(metavar="NAME", help=f"All by default: {', '.join(names())}.")] = None,
    scale: Annotated[str, typer.Option(help="full, or small: the same code in seconds.")] = "full",
    pages: Annotated[bool, typer.Option("--publish", help="Write the pages and pictures below docs/experiments/.")] = False,
) -> None:
    """Run experiments; the exit code is 1 if a claim does not hold."""
    unknown = sorted(set(chosen or []) - set(names()))
    if unknown or scale not in SCALES:
        raise typer.BadParameter(f"{unknown[0] if unknown else scale!r} is none of {', '.join(names() if unknown else SCALES)}")
    console, failed = Console(), False
    for name in chosen or names():
        found = run(name, SCALES[scale])
        table = Table("", "ours", "plain torch, before", "paper", title=f"{name} ({found.seconds:.0f} s)", title_justify="left")
        for f in found.figures:
            table.add_row(f.name, f.told, f.before, f.paper)
        console.print(table)
        for claim, holds in found.claims.items():
            console.print(f"{'yes' if holds else 'NO '}  {claim}")
            failed |= not holds
        if pages:
            console.print(f"wrote {publish(name, SCALES[scale], found)}")
    raise typer.Exit(int(failed))


if __name__ == "__main__":
    typer.run(main)
