"""How long an editor waits for the language server: a process of ``dsl lsp``, spoken to over pipes, with a program of 300 lines.

``python -m benchmarks.editor`` prints what it measured as JSON; the suite's second table has it (``benchmarks/overhead.py``).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LINES = 300
EDITS = 31
URI = (ROOT / "stdlib" / "edited.us").as_uri()  # no such file: an editor's text need not be saved


def program() -> str:
    """300 lines that check without an error: the longest computations of the library, and comments up to the count."""
    parts = [(ROOT / path).read_text(encoding="utf-8") for path in ("stdlib/es.us", "tests/programs/lasso.us", "tests/programs/stencils.us")]
    text = "\n".join(parts)
    return text + "# ...\n" * (LINES - text.count("\n"))


class Server:
    """``dsl lsp``, with what it sends read as it comes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "unspool", "lsp"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.number = 0

    def send(self, method: str, params: Any, **more: Any) -> None:
        """Send a message."""
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """The next message."""
        assert self.process.stdout is not None
        size = 0
        while (line := self.process.stdout.readline().strip()) or not size:
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        found: dict[str, Any] = json.loads(self.process.stdout.read(size))
        return found

    def ask(self, method: str, params: Any) -> Any:
        """The answer to a question."""
        self.number += 1
        self.send(method, params, id=self.number)
        while (answer := self.read()).get("id") != self.number:
            pass
        return answer["result"]

    def published(self, version: int) -> list[Any]:
        """The diagnostics of a version of the text."""
        while True:
            message = self.read()
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["version"] == version:
                found: list[Any] = message["params"]["diagnostics"]
                return found

    def processor_seconds(self) -> float | None:
        """What it has taken of the processor; None where the system does not tell."""
        path = Path(f"/proc/{self.process.pid}/stat")
        if not path.exists():
            return None
        words = path.read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure() -> dict[str, float]:
    """Seconds from starting the server to the first diagnostics (``first``), and medians of those from an edit to its diagnostics (``edit``), to a hover
    that is asked right after an edit (``hover``) and to a completion (``completion``); ``processor``: of the server, for an edit."""
    text = program()
    begin = time.perf_counter()
    server = Server()
    server.ask("initialize", {"capabilities": {}})
    server.send("initialized", {})
    server.send("textDocument/didOpen", {"textDocument": {"uri": URI, "languageId": "unspool", "version": 1, "text": text}})
    assert server.published(1) == []
    first = time.perf_counter() - begin
    before, edits = server.processor_seconds(), []
    for version in range(2, EDITS + 2):  # one finds an error, the next puts it right
        changed = text.replace("A @ x - y", "A @ x - z", 1) if version % 2 else text
        start = time.perf_counter()
        server.send("textDocument/didChange", {"textDocument": {"uri": URI, "version": version}, "contentChanges": [{"text": changed}]})
        assert len(server.published(version)) == version % 2
        edits.append(time.perf_counter() - start)
    after = server.processor_seconds()
    line = next(n for n, row in enumerate(text.split("\n")) if "A @ x - y" in row)
    place = {"textDocument": {"uri": URI}, "position": {"line": line, "character": text.split("\n")[line].index("@")}}
    answers: dict[str, list[float]] = {"hover": [], "completion": []}
    for n in range(EDITS):
        version = EDITS + 2 + n
        for method, times in answers.items():
            start = time.perf_counter()
            if method == "hover":
                server.send("textDocument/didChange", {"textDocument": {"uri": URI, "version": version}, "contentChanges": [{"text": text}]})
            assert server.ask(f"textDocument/{method}", place)
            times.append(time.perf_counter() - start)
    server.ask("shutdown", None)
    server.send("exit", None)
    assert server.process.wait() == 0
    found = {"first": first, "edit": statistics.median(edits), "slowest": max(edits), **{k: statistics.median(v) for k, v in answers.items()}}
    return found if before is None or after is None else {**found, "processor": (after - before) / EDITS}


if __name__ == "__main__":
    print(json.dumps(measure()))
