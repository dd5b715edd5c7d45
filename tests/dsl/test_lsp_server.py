"""``dsl lsp`` as a process, asked over pipes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from threading import Timer
from typing import IO, Any

import pytest
from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException

from benchmarks.editor import measure
from tests.dsl.editor import PATIENCE, Editor
from unspool.dsl.lsp import server as served

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "# ä𝛼\nalgorithm f(given A: real[m, n], λ𝛼: real[n]) -> real[m]:\n    ω = A @ λ𝛼  # 𝛼𝛼\n    return ω + unknown\n"


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    found = Editor()
    yield found
    assert found.close() == 0


def test_what_it_offers(editor: Editor) -> None:
    can = editor.abilities
    assert can.position_encoding == "utf-16"
    assert can.hover_provider
    assert can.definition_provider
    assert can.document_formatting_provider
    assert can.completion_provider
    assert can.code_action_provider
    assert can.document_symbol_provider


def test_places_count_in_utf_16(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "a.us", PROGRAM)
    (error,) = editor.errors(uri)
    assert (error.code, error.source, error.message.splitlines()[0]) == ("US0201", "unspool", "unknown name unknown")
    assert (error.range.start, error.range.end) == (lsp.Position(3, 15), lsp.Position(3, 22))
    assert editor.hover(uri, 2, 12) == "```us\nλ𝛼: real[n]\n```"
    assert editor.hover(uri, 2, 10) == "```us\nA @ λ𝛼: real[m]\n```"
    found = editor.definition(uri, 2, 15)  # λ and the two units of 𝛼 before it
    assert (found.uri, found.range.start, found.range.end) == (uri, lsp.Position(1, 33), lsp.Position(1, 36))
    assert "λα" in {item.label for item in editor.completions(uri, 3, 15)}  # as the language reads it
    editor.change(uri, PROGRAM.replace(" + unknown", ""))
    assert editor.errors(uri) == []
    symbols = editor.run(editor.client.text_document_document_symbol_async(lsp.DocumentSymbolParams(lsp.TextDocumentIdentifier(uri))))
    assert [symbol.name for symbol in symbols] == ["f"]
    editor.shut(uri)


def test_an_open_text_counts_before_its_file(editor: Editor, tmp_path: Path) -> None:
    (tmp_path / "ops.us").write_text("fn half(x) = x / 2\n", encoding="utf-8")
    user = editor.open(tmp_path / "main.us", 'use "ops.us": half\n\nalgorithm f(x: real[n]) -> real[n]:\n    return half(x)\n')
    assert editor.errors(user) == []
    used = editor.open(tmp_path / "ops.us", "fn halve(x) = x / 2\n")
    (error,) = editor.errors(user, len)
    assert (error.code, error.range.start.line) == ("US0602", 0)
    editor.change(used, "# moved\n\nfn half(x) = x / 2\n")
    assert editor.errors(user, lambda errors: not errors) == []
    place = editor.definition(user, 3, 12)
    assert (place.uri, place.range.start) == (used, lsp.Position(2, 3))
    (tmp_path / "ops.us").write_text("fn third(x) = x / 3\n", encoding="utf-8")
    editor.shut(used)
    assert [error.code for error in editor.errors(user, len)] == ["US0602"]
    (tmp_path / "ops.us").write_text("fn half(x) = x / 2\n", encoding="utf-8")
    event = lsp.FileEvent(used, lsp.FileChangeType.Changed)
    editor.call(editor.client.workspace_did_change_watched_files, lsp.DidChangeWatchedFilesParams([event]))
    assert editor.errors(user, lambda errors: not errors) == []
    editor.shut(user)


def test_a_text_without_a_file(editor: Editor) -> None:
    uri = editor.open_as("untitled:Untitled-1", "use prox: soft\n\nfn f(x) = soft(x, 1)  +  1\n")
    assert editor.errors(uri) == []
    options = lsp.FormattingOptions(4, True)
    made = editor.run(editor.client.text_document_formatting_async(lsp.DocumentFormattingParams(lsp.TextDocumentIdentifier(uri), options)))
    assert [edit.new_text for edit in made] == ["fn f(x) = soft(x, 1) + 1\n"]
    editor.change(uri, "fn f(x) = = x\n")
    assert [error.code for error in editor.errors(uri)] == ["US0101"]
    made = editor.run(editor.client.text_document_formatting_async(lsp.DocumentFormattingParams(lsp.TextDocumentIdentifier(uri), options)))
    assert made is None
    editor.change(uri, "fn f(x) = sqr(x)\n")
    (error,) = editor.errors(uri)
    context = lsp.CodeActionContext([error])
    (fix,) = editor.run(
        editor.client.text_document_code_action_async(lsp.CodeActionParams(lsp.TextDocumentIdentifier(uri), error.range, context))
    )
    assert fix.title == "Write sqrt"
    editor.shut(uri)


def test_uses_of_a_name(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "b.us", "algorithm f(x: real[n]) -> real[n]:\n    y = x + x\n    return y\n")
    place = editor.at(uri, 0, 12)
    found = editor.run(editor.client.text_document_references_async(lsp.ReferenceParams(context=lsp.ReferenceContext(False), **place)))
    assert [(at.range.start.line, at.range.start.character) for at in found] == [(1, 8), (1, 12)]
    found = editor.run(editor.client.text_document_document_highlight_async(lsp.DocumentHighlightParams(**place)))
    assert len(found) == 3
    shown = editor.run(editor.client.text_document_signature_help_async(lsp.SignatureHelpParams(**place)))
    assert shown is None
    editor.shut(uri)


def test_a_question_can_be_taken_back_and_a_text_replaced_while_it_is_looked_at(editor: Editor, tmp_path: Path) -> None:
    program = (ROOT / "stdlib" / "es.us").read_text(encoding="utf-8")
    uri = editor.open(tmp_path / "c.us", program)

    async def ask_and_cancel() -> str:
        waiting = editor.client.protocol.send_request_async("textDocument/hover", lsp.HoverParams(**editor.at(uri, 0, 0)), msg_id="taken back")
        editor.client.protocol.notify("$/cancelRequest", lsp.CancelParams("taken back"))
        try:
            await asyncio.wait_for(waiting, PATIENCE)
        except JsonRpcException as error:
            return str(error)
        return "answered"

    assert "canceled" in editor.run(ask_and_cancel())
    for n in range(5):
        editor.change(uri, f"{program}\nfn last{n}(x) = x\n")
    assert editor.errors(uri) == []  # of the last one
    assert "fn last4(x)" in editor.hover(uri, program.count("\n") + 1, 4)
    editor.shut(uri)
    assert editor.hover(uri, 0, 0) == ""  # closed


def test_an_enormous_text_is_told_and_left_alone(editor: Editor, tmp_path: Path) -> None:
    uri = editor.open(tmp_path / "big.us", "#" * (served.LIMIT + 1))
    assert editor.errors(uri) == []
    assert f"more than {served.LIMIT} characters" in editor.hears("characters")
    editor.shut(uri)


@pytest.mark.slow
def test_an_edit_is_answered_within_300_milliseconds() -> None:
    found = measure()
    assert found.get("processor", found["edit"]) < 0.3  # of the processor, so that other load does not count
    assert found["completion"] < 0.3


# -- bad input --------------------------------------------------------------------------------------------------------


def framed(*messages: Any) -> bytes:
    """Messages as bytes; a text is sent as it is."""
    bodies = [m if isinstance(m, bytes) else json.dumps({"jsonrpc": "2.0", **m}).encode() for m in messages]
    return b"".join(b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)


def spoken(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Messages out of a stream of bytes."""
    while head := stream.readline():
        size = int(head.lower().split(b"content-length:")[1])
        while stream.readline() != b"\r\n":
            pass
        yield json.loads(stream.read(size))


def test_malformed_messages_are_answered_or_passed_over() -> None:
    opened = {"textDocument": {"uri": "file:///x.us", "languageId": "us", "version": 1, "text": "fn f(x) = \ud800x\n"}}
    place = {"textDocument": {"uri": "file:///x.us"}, "position": {"line": 10**6, "character": 10**6}}
    other = {"uri": "file:///z.us"}
    sent = framed(
        {"id": 1, "method": "initialize", "params": {"capabilities": {"general": {"positionEncodings": ["utf-8", "utf-16"]}}}},
        {"method": "initialized", "params": {}},
        b"{ this is no json",
        b"[]",
        {"id": 2, "method": "textDocument/unheardOf", "params": {}},
        {"id": 3, "method": "textDocument/hover", "params": {"position": "nowhere"}},
        {"method": "textDocument/didOpen", "params": opened},
        {"method": "textDocument/didChange", "params": {"textDocument": {"uri": "file:///y.us", "version": 2}, "contentChanges": []}},
        {"id": 4, "method": "textDocument/hover", "params": place},
        {"id": 5, "method": "textDocument/hover", "params": {**place, "textDocument": {"uri": "file:///never-opened.us"}}},
        {"id": 6, "method": "textDocument/completion", "params": place},
        {"method": "textDocument/didOpen", "params": {"textDocument": {**opened["textDocument"], **other, "text": "fn f(𝛼) = 𝛼 + b\n"}}},
        {"id": 7, "method": "textDocument/definition", "params": {"textDocument": other, "position": {"line": 0, "character": 15}}},
    )
    command = [sys.executable, "-m", "unspool", "lsp", "--stdio"]
    with (
        TemporaryFile() as errors,
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "PYTHONPATH": str(ROOT)}
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        late = Timer(PATIENCE, server.kill)
        late.start()
        server.stdin.write(sent)
        server.stdin.flush()
        answers = {}
        for message in spoken(server.stdout):
            if "id" in message:
                answers[message["id"]] = message
            if answers.keys() >= {1, 2, 4, 5, 6, 7} and 8 not in answers:  # what is not answered by then, shutdown cancels
                server.stdin.write(framed({"id": 8, "method": "shutdown"}, {"method": "exit"}))
                server.stdin.flush()
                answers[8] = {}
        late.cancel()
        server.wait(PATIENCE)
        errors.seek(0)
        told = errors.read()
    assert answers[2]["error"]["code"] == -32601
    assert answers[4]["result"] is None
    assert answers[5]["result"] is None
    assert isinstance(answers[6]["result"], list)
    assert answers[1]["result"]["capabilities"]["positionEncoding"] == "utf-8"
    assert answers[7]["result"]["range"] == {"start": {"line": 0, "character": 5}, "end": {"line": 0, "character": 9}}
    assert answers[8]["result"] is None
    assert server.returncode == 0
    assert b"Traceback" not in told


def test_an_editor_that_goes_away_ends_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unspool", "lsp"], cwd=ROOT, input=b"Content-Length: 10\r\n\r\n{", capture_output=True, check=False,
        timeout=PATIENCE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, b"")
    assert [message["method"] for message in spoken(BytesIO(done.stdout))] == ["window/logMessage"]


def test_without_pygls_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "pygls.py").write_text("raise ModuleNotFoundError('no pygls', name='pygls')\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "unspool", "lsp"], cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: the language server needs pygls: pip install 'unspool[lsp]'\n"
    assert done.stdout == ""
