"""The report of an algorithm: all sections, as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..api import AlgorithmHandle
from ..compile_options import CompileOptions
from ..data import read_input
from ..explain import measured
from ..session import compile_kernel, prepare
from ..stages import write
from . import buffers, candidates, dataflow, domains, host, parameters, roofline, stages
from .page import page
from .section import Section
from .subject import Subject

#: The sections in order.
SECTIONS: tuple[Callable[[Subject], Section | None], ...] = (
    host.section,
    stages.section,
    dataflow.section,
    domains.section,
    buffers.section,
    roofline.section,
    candidates.section,
    parameters.section,
)


def report(subject: Subject, program: str) -> str:
    """The HTML of a report; ``program`` is what its heading calls it."""
    found = [section(subject) for section in SECTIONS]
    return page(program, list(facts(subject)), [s for s in found if s is not None])


def facts(subject: Subject) -> Iterator[tuple[str, str]]:
    """What was compiled, and how."""
    about = subject.explained
    yield "algorithm", repr(subject.handle).removeprefix("<algorithm ").removesuffix(">")
    if about["sizes"]:
        yield "sizes", ", ".join(f"{n} = {v}" for n, v in about["sizes"].items())
    yield "real", about["dtype"]
    yield "target", about["target"]
    if subject.kernel.lead:
        yield "problems", "x".join(map(str, subject.kernel.lead))


def write_report(
    path: Path,
    program: str,
    handle: AlgorithmHandle,
    specs: Sequence[str],
    sizes: Mapping[str, int],
    lead: tuple[int, ...],
    counts: Mapping[str, int],
    chosen: CompileOptions,
    *,
    measure: bool,
) -> Iterator[str]:
    """Write the report of an algorithm for the inputs that ``specs`` name (others are made up), and tell what the user did not say. Raises
    UnspoolError."""
    kernel, said = compile_kernel(handle, specs, sizes, lead, counts, chosen)
    names = [i.name for i in handle.algorithm.inputs]
    given = tuple(name for spec in specs for name in read_input(spec, names))
    subject = Subject(handle, kernel, given=given, measure=measure, strict=chosen.numerics == "strict")
    if handle.algorithm.modules:
        yield f"{handle.algorithm.name} has learned operators, which come from Python: nothing is called"
    elif measure or given:
        subject.call = prepare(handle, specs, sizes, lead, counts, chosen)
        said = subject.call.said or said
        if measure:
            subject.figures = measured(subject.call, subject.explained)
    if said:
        yield said
    write(path, report(subject, program))
