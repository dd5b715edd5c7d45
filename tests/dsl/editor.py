"""An editor without a screen: it starts ``dsl lsp`` and speaks to it over pipes, as editors do."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.client import BaseLanguageClient

ROOT = Path(__file__).resolve().parents[2]
#: Seconds until an answer is overdue.
PATIENCE = 60


class Editor:
    """One server process, until :meth:`close`. Lines and characters are the protocol's."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.client = BaseLanguageClient("test", "1")
        self.said: list[lsp.LogMessageParams | lsp.ShowMessageParams] = []
        self.published: dict[str, lsp.PublishDiagnosticsParams] = {}
        self.news = threading.Condition()
        self.versions: dict[str, int] = {}

        @self.client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def _published(params: lsp.PublishDiagnosticsParams) -> None:
            with self.news:
                self.published[params.uri] = params
                self.news.notify_all()

        @self.client.feature(lsp.WINDOW_LOG_MESSAGE)
        @self.client.feature(lsp.WINDOW_SHOW_MESSAGE)
        def _said(params: Any) -> None:
            with self.news:
                self.said.append(params)
                self.news.notify_all()

        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.run(self.client.start_io(sys.executable, "-m", "unspool", "lsp", env=environment, cwd=str(ROOT)))
        self.abilities = self.run(self.client.initialize_async(lsp.InitializeParams(lsp.ClientCapabilities()))).capabilities
        self.client.initialized(lsp.InitializedParams())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def call(self, function: Any, *arguments: Any) -> None:
        """Call in the thread of the loop, and wait for it."""

        async def called() -> None:
            function(*arguments)

        self.run(called())

    def close(self) -> int | None:
        """End the server as editors do; its exit code."""

        async def end() -> int | None:
            await self.client.shutdown_async(None)
            self.client.exit(None)
            server = self.client._server
            code = await asyncio.wait_for(server.wait(), PATIENCE) if server is not None else None
            await self.client.stop()
            return code

        code: int | None = self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        return code

    # -- texts

    def open(self, path: Path, text: str) -> str:
        """Open a text that need not be on disk; its URI."""
        return self.open_as(path.as_uri(), text)

    def open_as(self, uri: str, text: str) -> str:
        self.versions[uri] = 1
        self.call(self.client.text_document_did_open, lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "us", 1, text)))
        return uri

    def change(self, uri: str, text: str) -> None:
        self.versions[uri] += 1
        identifier = lsp.VersionedTextDocumentIdentifier(self.versions[uri], uri)
        change = lsp.TextDocumentContentChangeWholeDocument(text)
        self.call(self.client.text_document_did_change, lsp.DidChangeTextDocumentParams(identifier, [change]))

    def shut(self, uri: str) -> None:
        self.call(self.client.text_document_did_close, lsp.DidCloseTextDocumentParams(lsp.TextDocumentIdentifier(uri)))

    def errors(self, uri: str, fits: Any = lambda errors: True) -> list[lsp.Diagnostic]:
        """What is published of the latest version, once it fits."""

        def there() -> bool:
            found = self.published.get(uri)
            return found is not None and found.version == self.versions[uri] and bool(fits(found.diagnostics))

        with self.news:
            assert self.news.wait_for(there, PATIENCE), self.published.get(uri)
            return list(self.published[uri].diagnostics)

    def hears(self, words: str) -> str:
        """A message of the server that has these words."""

        def found() -> list[str]:
            return [said.message for said in self.said if words in said.message]

        with self.news:
            assert self.news.wait_for(found, PATIENCE), self.said
            return found()[0]

    # -- questions

    def at(self, uri: str, line: int, character: int) -> dict[str, Any]:
        return {"text_document": lsp.TextDocumentIdentifier(uri), "position": lsp.Position(line, character)}

    def hover(self, uri: str, line: int, character: int) -> str:
        found = self.run(self.client.text_document_hover_async(lsp.HoverParams(**self.at(uri, line, character))))
        return "" if found is None else str(found.contents.value)

    def definition(self, uri: str, line: int, character: int) -> Any:
        return self.run(self.client.text_document_definition_async(lsp.DefinitionParams(**self.at(uri, line, character))))

    def completions(self, uri: str, line: int, character: int) -> list[lsp.CompletionItem]:
        found = self.run(self.client.text_document_completion_async(lsp.CompletionParams(**self.at(uri, line, character))))
        return sorted(found, key=lambda item: item.sort_text or item.label)
