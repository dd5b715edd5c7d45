"""The commands, in the order in which ``help``, completion and docs/repl.md have them."""

from __future__ import annotations

from .command import Command
from .verbs import (
    asm,
    check,
    compare,
    deps,
    explain,
    export,
    graph,
    help,
    kernel,
    list,
    load,
    loops,
    option,
    params,
    program,
    ptx,
    quit,
    report,
    save,
    schedule,
    size,
    source,
    time,
    tree,
    undo,
)

#: The modules of the verbs, in order.
_VERBS = (
    load, list, check, program, size, option, graph, loops, deps, schedule, kernel, tree,
    source, asm, ptx, explain, params, time, compare, undo, save, export, report, help, quit,
)
COMMANDS: dict[str, Command] = {verb.COMMAND.name: verb.COMMAND for verb in _VERBS}
#: Other names of commands.
ALIASES = {"?": "help", "exit": "quit", "dependences": "deps"}


def markdown() -> str:
    """The table of docs/repl.md."""
    rows = [f"| <code>{c.usage.replace('|', '&#124;')}</code> | {c.does} | `{c.example}` |" for c in COMMANDS.values()]
    return "\n".join(["| command | what it does | example |", "| --- | --- | --- |", *rows]) + "\n"
