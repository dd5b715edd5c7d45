"""The server: what editors send and ask, over standard input and output.

Each text that comes is analysed once, in a thread of its own, and everything that is asked about it waits for that. A text that comes
meanwhile ends the analysis of the one before.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path

from ...compiler.diagnostics import Source, Span, UnspoolError
from ...compiler.version import VERSION
from ..uses import read_source
from .analysis import Analysis, analyse
from .complete import completions, signature
from .fixes import fixes
from .hover import hover
from .layout import edits
from .memory import Memory
from .names import Symbol
from .outline import outline
from .report import diagnostics
from .text import Text
from .types import Superseded

#: Texts of more characters are not analysed: the editor is told, once for each.
LIMIT = 500_000
Answer = TypeVar("Answer")


@dataclass
class Document:
    """A text as an editor has it at one time. ``analysis`` raises Superseded once there is another."""

    uri: str
    version: int | None
    text: Text
    analysis: asyncio.Future[Analysis]
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def path(self) -> Path | None:
        """Its file; None for a text that has none yet."""
        return _path(self.uri)


class Server(LanguageServer):
    """Documents by URI, and who analyses them."""

    def __init__(self) -> None:
        super().__init__("unspool", VERSION, text_document_sync_kind=lsp.TextDocumentSyncKind.Full)
        self.documents: dict[str, Document] = {}
        self.memories: dict[str, Memory] = {}
        self.worker = ThreadPoolExecutor(1, "analysis")
        self.tasks: set[asyncio.Task[None]] = set()
        self.asked_to_end = False

    # -- texts

    def take(self, uri: str) -> None:
        """Take up a text that was opened or changed, and look again at those that use it."""
        document = self.workspace.get_text_document(uri)
        encoding = self.server_capabilities.position_encoding or lsp.PositionEncodingKind.Utf16
        self._look(uri, document.version, Text(document.source, encoding))
        self.look_at_users(_path(uri))

    def drop(self, uri: str) -> None:
        """Forget a text that was closed: its file counts again."""
        gone = self.documents.pop(uri, None)
        self.memories.pop(uri, None)
        if gone is not None:
            gone.over.set()
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))
            self.look_at_users(gone.path)

    def look_at_users(self, path: Path | None) -> None:
        """Analyse again what uses a file; None: everything."""
        for other in list(self.documents.values()):
            done = other.analysis.done() and not other.analysis.cancelled() and other.analysis.exception() is None
            if path is None or (other.path != path and (not done or path in other.analysis.result().files)):
                self._look(other.uri, other.version, other.text)

    def _look(self, uri: str, version: int | None, text: Text) -> None:
        before = self.documents.get(uri)
        if before is not None:
            before.over.set()
        if len(text.text) > LIMIT:
            text = Text("", text.encoding)
            self.window_show_message(lsp.ShowMessageParams(lsp.MessageType.Warning, f"{uri} has more than {LIMIT} characters and is not analysed"))
        path, over, memory = _path(uri), threading.Event(), self.memories.setdefault(uri, Memory())
        buffers = {other.path: other.text.text for other in self.documents.values() if other.path is not None}

        def read(file: Path) -> Source:
            return Source(str(file), buffers[file]) if file in buffers else read_source(file)

        def run() -> Analysis:
            source = Source(str(path) if path is not None else uri, text.text)
            return analyse(source, path.parent if path is not None else None, memory=memory, read=read, superseded=over.is_set)

        loop = asyncio.get_running_loop()
        document = Document(uri, version, text, loop.run_in_executor(self.worker, run), over)
        self.documents[uri] = document
        task = loop.create_task(self._publish(document))
        self.tasks.add(task)
        task.add_done_callback(self._published)

    def _published(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):  # a fault of ours: told once, in the log
            self.report_server_error(error, None)

    async def _publish(self, document: Document) -> None:
        try:
            found = await asyncio.shield(document.analysis)
        except Superseded:
            return
        if self.documents.get(document.uri) is document:
            errors = diagnostics(found, document.text, document.uri, _uri)
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(document.uri, errors, document.version))

    # -- questions

    async def ask(self, uri: str, answer: Callable[[Document, Analysis], Answer]) -> Answer | None:
        """An answer about a text as it is now; None for one that is not open."""
        while (document := self.documents.get(uri)) is not None:
            try:
                found = await asyncio.shield(document.analysis)
            except Superseded:
                continue
            return answer(document, found)
        return None

    def report_server_error(self, error: Exception, source: Any) -> None:
        """One line in the editor's log; pygls would open a window."""
        self.window_log_message(lsp.LogMessageParams(lsp.MessageType.Error, f"{type(error).__name__}: {error}".partition("\n")[0]))


def _path(uri: str) -> Path | None:
    found = to_fs_path(uri) if uri.startswith("file:") else None
    return Path(found).resolve() if found else None


def _uri(name: str) -> str:
    return from_fs_path(name) or name


def make() -> Server:
    """A server with everything that it can do."""
    server = Server()
    _texts(server)
    _questions(server)
    return server


def _texts(server: Server) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(ls: Server, params: lsp.DidOpenTextDocumentParams) -> None:
        ls.take(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(ls: Server, params: lsp.DidChangeTextDocumentParams) -> None:
        ls.take(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(ls: Server, params: lsp.DidCloseTextDocumentParams) -> None:
        ls.drop(params.text_document.uri)

    @server.feature(lsp.WORKSPACE_DID_CHANGE_WATCHED_FILES)
    def watched(ls: Server, params: lsp.DidChangeWatchedFilesParams) -> None:
        for change in params.changes:
            path = _path(change.uri)
            if path is not None:
                ls.look_at_users(path)

    @server.feature(lsp.SHUTDOWN)
    def shutdown(ls: Server, _: None) -> None:
        ls.asked_to_end = True
        for document in ls.documents.values():
            document.over.set()


def _questions(server: Server) -> None:
    def at(document: Document, position: lsp.Position) -> tuple[int, int]:
        return document.text.place(position)

    def occurrences(document: Document, analysis: Analysis, position: lsp.Position) -> tuple[tuple[Span, Symbol] | None, list[Span]]:
        """The use at a position, and all uses of what it names."""
        use = analysis.names.at(*at(document, position), behind=True)
        return use, [] if use is None else analysis.names.occurrences(use[1])

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    async def _hover(ls: Server, params: lsp.HoverParams) -> lsp.Hover | None:
        return await ls.ask(params.text_document.uri, lambda d, a: hover(a, d.text, *at(d, params.position)))

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    async def _definition(ls: Server, params: lsp.DefinitionParams) -> lsp.Location | None:
        def answer(d: Document, a: Analysis) -> lsp.Location | None:
            use = a.names.at(*at(d, params.position), behind=True)
            if use is None:
                return None
            span = use[1].span
            if span.source == a.source:
                return lsp.Location(d.uri, d.text.range(span))
            return lsp.Location(_uri(span.source.name), Text(span.source.text, d.text.encoding).range(span))

        return await ls.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    async def _references(ls: Server, params: lsp.ReferenceParams) -> list[lsp.Location] | None:
        def answer(d: Document, a: Analysis) -> list[lsp.Location]:
            use, spans = occurrences(d, a, params.position)
            wanted = [s for s in spans if use is None or params.context.include_declaration or s != use[1].span]
            return [lsp.Location(d.uri, d.text.range(span)) for span in wanted]

        return await ls.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    async def _highlight(ls: Server, params: lsp.DocumentHighlightParams) -> list[lsp.DocumentHighlight] | None:
        def answer(d: Document, a: Analysis) -> list[lsp.DocumentHighlight]:
            return [lsp.DocumentHighlight(d.text.range(span)) for span in occurrences(d, a, params.position)[1]]

        return await ls.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_COMPLETION, lsp.CompletionOptions(trigger_characters=[".", ":", " ", '"', "/"]))
    async def _completion(ls: Server, params: lsp.CompletionParams) -> list[lsp.CompletionItem] | None:
        def answer(d: Document, a: Analysis) -> list[lsp.CompletionItem]:
            line, column = at(d, params.position)
            typed = params.context.trigger_character if params.context is not None else None
            if typed == " " and a.source.line(line)[: column - 1].strip() not in ("use", "->"):
                return []  # a blank is typed often, and seldom asks
            return completions(a, d.path.parent if d.path else None, line, column)

        return await ls.ask(params.text_document.uri, answer)

    @server.feature(lsp.TEXT_DOCUMENT_SIGNATURE_HELP, lsp.SignatureHelpOptions(trigger_characters=["(", ","]))
    async def _signature(ls: Server, params: lsp.SignatureHelpParams) -> lsp.SignatureHelp | None:
        return await ls.ask(params.text_document.uri, lambda d, a: signature(a, *at(d, params.position)))

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    async def _outline(ls: Server, params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol] | None:
        return await ls.ask(params.text_document.uri, lambda d, a: outline(a, d.text))

    @server.feature(lsp.TEXT_DOCUMENT_CODE_ACTION, lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix]))
    async def _fixes(ls: Server, params: lsp.CodeActionParams) -> list[lsp.CodeAction] | None:
        return await ls.ask(params.text_document.uri, lambda d, a: fixes(d.text, d.uri, d.version, params.context.diagnostics))

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    async def _format(ls: Server, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
        document = ls.documents.get(params.text_document.uri)
        if document is None:
            return None
        source = Source(document.uri, document.text.text)
        try:
            return await asyncio.get_running_loop().run_in_executor(ls.worker, edits, source, document.text)
        except UnspoolError:  # its errors are shown already
            return None


def serve() -> int:
    """Serve until the editor ends it; the exit code: 1 if it went away without a word."""
    logging.getLogger("pygls").setLevel(logging.CRITICAL)
    server, out = make(), sys.stdout.buffer
    server.worker.submit(analyse, Source("", "fn f(x) = x"), None)  # reads the parse tables while the editor introduces itself
    sys.stdout = sys.stderr  # nothing but messages goes to standard output
    server.start_io(sys.stdin.buffer, out)
    for document in server.documents.values():
        document.over.set()
    server.worker.shutdown()
    return 0 if server.asked_to_end else 1
