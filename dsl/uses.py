"""Files and ``use``: what each file defines and what it sees of others. Nothing is executed, only read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..compiler.diagnostics import Diagnostic, ProgramError, Source, Span
from ..compiler.nearest import nearest
from . import syntax as s
from .parse import parse

STDLIB = Path(__file__).resolve().parents[1] / "stdlib"


@dataclass
class FileScope:
    """One file, or one function of a Python file: its definitions and imported names, and other files by the name they are
    used under. ``project`` holds the scopes of everything that is reached from it. ``python``: it is written as a Python function."""

    source: Source
    program: s.Program
    project: list[FileScope] = field(repr=False)
    definitions: dict[str, s.Fn | s.AlgorithmDecl] = field(default_factory=dict)
    files: dict[str, FileScope] = field(default_factory=dict)
    python: bool = False

    def home(self, definition: s.Fn | s.AlgorithmDecl) -> FileScope:
        """The scope in which a function or algorithm was written: its names are looked up there."""
        return next(scope for scope in self.project if any(definition is item for item in scope.own))

    @property
    def own(self) -> list[s.Fn | s.AlgorithmDecl]:
        """Definitions written in this file, in order."""
        return [item for item in self.program.items if not isinstance(item, s.Use)]


def read_source(path: Path, shown: str | None = None) -> Source:
    """The text of a file. Raises ProgramError if it cannot be read or is not UTF-8."""
    return source_of(shown or str(path), read_bytes(path, shown))


def read_bytes(path: Path, shown: str | None = None) -> bytes:
    """The bytes of a program's file. Raises ProgramError if it cannot be read."""
    source = Source(shown or str(path), "")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProgramError(
            [Diagnostic("US0601", f"cannot read {source.name}: {error.strerror}", Span(source, 1, 1, 1, 1))]
        ) from None


def source_of(name: str, raw: bytes) -> Source:
    """The text that some bytes are. Raises ProgramError if they are not UTF-8."""
    try:
        return Source(name, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8-sig", "replace")) + 1
        text = raw.decode("utf-8", "replace")
        span = Span(Source(name, text), line, column, line, column + 1)
        raise ProgramError([Diagnostic("US0605", "the file is not UTF-8 text", span, suggestion="save it as UTF-8")]) from None


def load_files(source: Source, folder: Path | None) -> FileScope:
    """The scope of a program, with all files it uses loaded. Raises ProgramError with every error found."""
    loader = _Loader(read_source)
    scope = loader.load(source, folder, ())
    if loader.diagnostics or scope is None:
        raise ProgramError(loader.diagnostics)
    return scope


def load_used(program: s.Program, folder: Path | None, read: Callable[[Path], Source] = read_source) -> tuple[FileScope, list[Diagnostic]]:
    """The scope of a program that is read already, with the files it uses as far as they can be loaded, and every error found. ``read`` raises
    ProgramError, as :func:`read_source` does."""
    loader = _Loader(read)
    return loader.scope(program, folder, ()), loader.diagnostics


class _Loader:
    def __init__(self, read: Callable[[Path], Source]) -> None:
        self.read = read
        self.project: list[FileScope] = []
        self.paths: dict[Path, FileScope | None] = {}
        self.diagnostics: list[Diagnostic] = []

    def load(self, source: Source, folder: Path | None, open_paths: tuple[Path, ...]) -> FileScope | None:
        try:
            program = parse(source)
        except ProgramError as error:
            self.diagnostics += error.diagnostics
            return None
        return self.scope(program, folder, open_paths)

    def scope(self, program: s.Program, folder: Path | None, open_paths: tuple[Path, ...]) -> FileScope:
        scope = FileScope(program.source, program, self.project)
        self.project.append(scope)
        uses = [item for item in program.items if isinstance(item, s.Use)]
        for definition in scope.own:
            self._define(scope, definition.name.text, definition, definition.name.span)
        for use in uses:
            used = self._used(use, folder, open_paths)
            if used is not None:
                self._import(scope, use, used)
        return scope

    def _define(self, scope: FileScope, name: str, definition: s.Fn | s.AlgorithmDecl, span: Span) -> None:
        if name in scope.definitions or name in scope.files:
            earlier = scope.definitions.get(name)
            note = (f"{name} is already defined at {earlier.name.span}",) if earlier else (f"{name} is a file in use",)
            self.diagnostics.append(Diagnostic("US0208", f"{name} is defined twice", span, note, "choose another name"))
            return
        scope.definitions[name] = definition

    def _import(self, scope: FileScope, use: s.Use, used: FileScope) -> None:
        if not use.names:
            name = Path(use.path).stem
            if not name.isidentifier():
                self._fault(
                    "US0604", f"{name!r} is no name that a file can be used under", use.span, 'name what you need: use "...": f'
                )
            elif name in scope.definitions or name in scope.files:
                self._fault("US0208", f"{name} is defined twice", use.span, "take names from the file: use ...: f")
            else:
                scope.files[name] = used
            return
        offered = {d.name.text: d for d in used.own}
        for wanted in use.names:
            if wanted.text in offered:
                self._define(scope, wanted.text, offered[wanted.text], wanted.span)
            else:
                self._fault("US0602", f"{use.path} defines no {wanted.text}", wanted.span, nearest(wanted.text, offered))

    def _used(self, use: s.Use, folder: Path | None, open_paths: tuple[Path, ...]) -> FileScope | None:
        path = self._path(use, folder)
        if path is None:
            return None
        if path in open_paths:
            chain = " -> ".join(p.name for p in (*open_paths[open_paths.index(path) :], path))
            self._fault("US0603", f"files use each other in a circle: {chain}", use.span, "move what both need to a third file")
            return None
        if path not in self.paths:
            try:
                source = self.read(path)
            except ProgramError as error:
                self.diagnostics += error.diagnostics
                self.paths[path] = None
                return None
            self.paths[path] = self.load(source, path.parent, (*open_paths, path))
        return self.paths[path]

    def _path(self, use: s.Use, folder: Path | None) -> Path | None:
        if not use.is_file:
            path = STDLIB / f"{use.path}.us"
            if not path.is_file():
                known = sorted(p.stem for p in STDLIB.glob("*.us"))
                self._fault(
                    "US0601",
                    f"the standard library has no {use.path}",
                    use.span,
                    nearest(use.path, known) or (f"it has {', '.join(known)}" if known else None),
                )
                return None
            return path
        relative = Path(use.path)
        if "\0" in use.path or relative.is_absolute() or ".." in relative.parts or relative.suffix != ".us" or "\\" in use.path:
            self._fault(
                "US0604",
                "a file in use is a .us file beside this one, or in a folder beside it",
                use.span,
                'for example use "local/ops.us": blur',
            )
            return None
        if folder is None:
            self._fault(
                "US0604", "a program given as text lies in no folder, so it cannot use files", use.span, "load it from a file"
            )
            return None
        path = (folder / relative).resolve()
        if not path.is_file():
            self._fault(
                "US0601",
                f"there is no file {use.path} beside this one",
                use.span,
                nearest(relative.name, [p.name for p in path.parent.glob("*.us")] if path.parent.is_dir() else []),
            )
            return None
        return path

    def _fault(self, code: str, message: str, span: Span, suggestion: str | None = None) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, (), suggestion))
