"""The command ``dsl`` as often as wanted, in processes of its own that do not import torch anew each time."""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unspool.backends import build
from unspool.compiler import options

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["torch", "tests.command", "unspool.dsl.cli", "unspool.dsl.api", "unspool.backends.call"])


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


def dsl(words: Sequence[str], folder: Path, environment: Mapping[str, str], lines: str = "") -> Done:
    """Run ``dsl WORDS`` in a folder, with variables of the environment set, switches among them, and ``lines`` as standard input."""
    with tempfile.TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        process = _SERVER.Process(target=_run, args=(list(words), folder, dict(environment), build.FLAGS, out, err, lines))
        process.start()
        process.join()
        assert process.exitcode is not None
        return Done(process.exitcode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


def _run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], flags: tuple[str, ...], out: Path, err: Path, lines: str
) -> None:
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = io.StringIO(lines)
    os.chdir(folder)
    os.environ.update(environment)
    options.current = options.from_environment(os.environ)
    build.FLAGS = flags  # the C compiler does as much as in the test that asks, see conftest.py
    from unspool.dsl.cli import main

    main(words)
