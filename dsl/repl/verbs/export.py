"""``export``: every stage as files, or a kernel file."""

from __future__ import annotations

from collections.abc import Sequence

from ....compiler.diagnostics import UnspoolError
from ...stages import stage_file, stage_text, write
from ..command import Command, Reply, path_of
from ..session import Session

STAGES = ("graph", "loops", "dependences", "schedule", "steps", "tree", "source", "explain")


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises UnspoolError if they cannot be written."""
    path = path_of(words[0] if words else "", "export ista.usk")
    kernel, name = session.bench.kernel(session.state), session.state.algorithm
    if path.suffix == ".usk":
        kernel.save(path)
        return Reply(f"wrote {path}")
    if path.exists() and not path.is_dir():
        raise UnspoolError(f"{path} is no folder, and no kernel file (x.usk)")
    files = [path / stage_file(kernel, stage, name) for stage in STAGES]
    for stage, file in zip(STAGES, files, strict=True):
        write(file, stage_text(kernel, stage).rstrip("\n") + "\n")
    return Reply(f"wrote {', '.join(map(str, files))}")


COMMAND = Command(
    "export", "export FOLDER|FILE.usk", "Write every stage into a folder, or a kernel file for `us.load_kernel`.", "export ista.usk", run, ("path",), 1
)
