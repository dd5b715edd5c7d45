"""Generated Python to loaded machine code: numba types it and gives LLVM's text, LLVM optimises it, the object code is cached on disk.

Numba's own cache is not used: it wants a file that stays as it is and a module by name, and the entry of a kernel has to be a C
function anyway. Here a cached kernel is one object file (see :mod:`.build`), loaded by LLVM alone; numba is not even imported then.

What is added to numba's text before it is optimised: arrays of a kernel do not overlap (``noalias``; numba has no such option), and the
entry is a C function ``void NAME(int64_t *call)``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import linecache
import os
import re
import struct
import sys
import threading
import types
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from ...compiler.diagnostics import CompileError
from .. import build as builds
from .emit import NumbaSource

#: Begins a cached file; LLVM would not survive what is no object file.
MAGIC = b"unspool object file\n"

#: What the code of a kernel may not call: it would be there only where numba is loaded.
_FOREIGN = ("numba_", "NRT_", "Py", "_Py")

#: Numba reads and changes global switches while it compiles.
_lock = threading.RLock()
_memory: dict[str, Loaded] = {}


def _after_fork() -> None:
    """In a forked process: a lock that another thread of the parent held would stay locked for ever."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class Loaded:
    """The address of a kernel's entry; ``owner`` keeps its code in memory."""

    address: int
    owner: Any
    path: Path


def versions() -> str:
    """The versions of what compiles."""
    return f"numba {importlib.metadata.version('numba')}, llvmlite {importlib.metadata.version('llvmlite')}"


@lru_cache(maxsize=1)
def _library() -> str:
    """The run-time library as it is part of every kernel."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in (*sorted(folder.glob("*.py")), folder.parent / "bernoulli.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def build(source: NumbaSource) -> Loaded:
    """The machine code of a kernel, compiled unless the cache has it. Raises CompileError if that fails."""
    text = "\0".join(["numba", source.text, source.name, versions(), sys.version, builds.processor(), _library()])
    key = hashlib.sha256(text.encode()).hexdigest()[:40]
    with _lock:
        if key in _memory:
            builds.statistics.loaded += 1
            return _memory[key]
        made = builds.fetch(key, ".o", lambda path: _load(path, source.name))
        if made is None:
            made = builds.install(
                MAGIC + _machine().emit_object(_module(source)), key, ".o", lambda path: _load(path, source.name)
            )
        _memory[key] = made
        return made


def object_code(source: NumbaSource) -> bytes:
    """The object file of a kernel, built unless the cache has it. Raises CompileError."""
    return builds.read_back(lambda: build(source).path, forget, source.name)[len(MAGIC) :]


def load_object(binary: bytes, name: str) -> Loaded:
    """The entry in an object file that was built before; numba is not needed. Raises CompileError if it does not load here."""
    loaded = _linked(binary, name, Path()) if _is_object(binary) else None
    if loaded is None:
        raise CompileError(f"its object code does not load with llvmlite {importlib.metadata.version('llvmlite')}")
    return loaded


def forget() -> None:
    """Drop the kernels held in memory, so that the next build looks on disk."""
    with _lock:
        _memory.clear()


def assembly(source: NumbaSource) -> str:
    """The assembly of a kernel. Raises CompileError if it does not compile."""
    with _lock:
        return str(_machine().emit_assembly(_module(source)))


# -- LLVM ------------------------------------------------------------------------------------------------------------------


def _machine() -> Any:
    """This processor. Each engine gets its own, which it frees in the end."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for what hints a processor that a loop waits
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


def _load(path: Path, name: str) -> Loaded | None:
    """The entry in an object file; None if it is no kernel."""
    data = path.read_bytes()
    return _linked(data[len(MAGIC) :], name, path) if data.startswith(MAGIC) else None


def _is_object(binary: bytes) -> bool:
    """Whether bytes begin as a whole object file does (ELF, Mach-O, COFF): LLVM ends the process for others."""
    if binary[:4] != b"\x7fELF":
        return binary[:4] == b"\xcf\xfa\xed\xfe" or binary[:2] in (b"\x64\x86", b"\x64\xaa")
    if len(binary) < 64:
        return False
    kind, table, size, count = struct.unpack("=16xH22xQ10xHH", binary[:62])
    return bool(kind == 1 and 0 < table <= len(binary) - size * count)  # to be linked; its table of sections, at the end, is there


def _linked(binary: bytes, name: str, path: Path) -> Loaded | None:
    """The entry in the bytes of an object file."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    try:
        engine.add_object_file(llvm.ObjectFileRef.from_data(binary))
        engine.finalize_object()
    except RuntimeError:
        return None
    address = engine.get_function_address(name)
    return Loaded(address, engine, path) if address else None


def _module(source: NumbaSource) -> Any:
    """The optimised module of a kernel."""
    module = llvm.parse_assembly(_prepared(source))
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_interleaving = True
    passes = llvm.create_pass_builder(_machine(), tuning)
    passes.getModulePassManager().run(module, passes)
    for function in module.functions:
        if function.is_declaration and function.name.startswith(_FOREIGN):
            raise CompileError(f"{source.name} calls {function.name}, which is part of numba and not of a kernel")
    return module


def _prepared(source: NumbaSource) -> str:
    """Numba's text with what it lacks, and the C entry."""
    text, entry = _typed(source)
    text = re.sub(r"^define (?:linkonce_odr |hidden |dso_local )*", "define internal ", text, flags=re.M)
    lines = text.splitlines()
    names = "|".join(map(re.escape, source.pointers))
    for n, line in enumerate(lines):
        if line.startswith("define ") and re.search(rf"{source.name}_(problem|tile)\w*\"?$", line.partition("(")[0]):
            line = re.sub(rf'(?<!noalias) (%"?arg\.(?:{names})"?)(?=[,)])', r" noalias \1", line)
            lines[n] = line.removesuffix("{") + "noinline {"
    lines += [
        f"define void @{source.name}(ptr %call) {{",
        "  %value = alloca ptr",
        "  %error = alloca ptr",
        f'  %failed = call i32 @"{entry}"(ptr %value, ptr %error, ptr %call)',
        "  ret void",
        "}",
    ]
    return _plain("\n".join(lines) + "\n")


def _plain(text: str) -> str:
    """The same with numba's names, in which numbers count what the process has compiled, replaced: equal sources give equal files."""
    seen: dict[str, str] = {}
    text = re.sub(r'^source_filename = ".*"$', 'source_filename = "unspool"', text, flags=re.M)
    return re.sub(r'@"?(_ZN[\w.$]+)"?', lambda m: seen.setdefault(m[1], f"@us.{len(seen)}"), text)


# -- numba -----------------------------------------------------------------------------------------------------------------


def _typed(source: NumbaSource) -> tuple[str, str]:
    """LLVM's text of a source, not optimised, and the name of its entry there."""
    from numba.core import compiler, config
    from numba.core import types as kinds
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.errors import NumbaError
    from numba.core.registry import cpu_target

    from .pipeline import Pipeline, resolved_once

    name = f"unspool_{hashlib.sha256(source.text.encode()).hexdigest()[:16]}"
    module = types.ModuleType(name)
    module.__file__ = f"<{name}>"
    linecache.cache[module.__file__] = (len(source.text), None, source.text.splitlines(True), module.__file__)
    flags = compiler.Flags()
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
    flags.error_model = "numpy"
    with global_compiler_lock, resolved_once():
        level = config.OPT
        config.OPT = type(level)(0)  # LLVM's work begins when all is known
        try:
            exec(compile(source.text, module.__file__, "exec"), module.__dict__)
            made = compiler.compile_extra(
                cpu_target.typing_context, cpu_target.target_context, module.__dict__[source.name],
                (kinds.CPointer(kinds.int64),), kinds.void, flags, {}, pipeline_class=Pipeline,
            )  # fmt: skip
            made.library.finalize()
        except (NumbaError, NotImplementedError, ImportError) as error:
            raise CompileError(f"numba cannot compile {source.name}: {error}") from error
        finally:
            config.OPT = level
    return made.library.get_llvm_str(), made.fndesc.mangled_name
