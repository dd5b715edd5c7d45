"""The command ``dsl``. Exit codes: 0 success, 1 errors in a program or in data, 2 wrong use of the command (docs/command-line.md).

What a command needs is imported when it runs: ``dsl check`` loads no torch.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..compiler.diagnostics import ProgramError, UnspoolError
from . import complete
from .arguments import file_and_name, input_values, iteration_counts, leading_shape, named_algorithm, size_pairs
from .flags import PROGRAM_ORDER, changed, read, takes_options
from .paint import print_error

app = typer.Typer(
    name="dsl",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Program = Annotated[
    str,
    typer.Argument(
        metavar="FILE:ALG", help="A program file, and the algorithm in it (needed if there are several).", autocompletion=complete.programs
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input", "-i", metavar="NAME=FILE", help="A value: y=y.npy, y=data.npz, t=0.1, or data.npz for all its names."
    ),
]
Sizes = Annotated[str | None, typer.Option("--size", "-s", metavar="m=250,n=500", help="Sizes by name.")]
Batch = Annotated[
    str, typer.Option("--batch", "-b", metavar="32", help="Leading shape of inputs that are not given: 32, or 8,4.")
]
Counts = Annotated[
    str | None, typer.Option("-K", "--iterations", metavar="50", help="The iteration count; several by name: K=50,J=3.")
]


@contextmanager
def _reported() -> Iterator[None]:
    """Errors in programs and data are printed as they are, and end the command with exit code 1."""
    try:
        yield
    except UnspoolError as error:
        prefix = "" if isinstance(error, ProgramError) else "error: "
        print_error(f"{prefix}{error}")
        raise typer.Exit(1) from None


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Program files.", exists=True, dir_okay=False)]) -> None:
    """Check programs: every error found, in source order."""
    from .program import load_file

    failed = False
    for file in files:
        try:
            checked = load_file(file)
        except ProgramError as error:
            print_error(str(error))
            failed = True
            continue
        names = ", ".join(checked.algorithms)
        print(f"{file}: ok" + (f" ({names})" if names else ""))
    if failed:
        raise typer.Exit(1)


@app.command()
@takes_options
def run(
    program: Program,
    inputs: Inputs = None,
    out: Annotated[
        list[Path] | None, typer.Option("--out", "-o", help="Where a result goes, in order: x.npy; all: x.npz.")
    ] = None,
    size: Sizes = None,
    batch: Batch = "",
    counts: Counts = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Run an algorithm on data; inputs that are not named get seeded random numbers."""
    from .data import save
    from .session import prepare, summary

    with _reported():
        handle = named_algorithm(program)
        call = prepare(
            handle, input_values(handle, inputs), size_pairs(size, "--size"), leading_shape(batch), iteration_counts(handle, counts), read(flags)
        )
        if call.said:
            print(call.said, file=sys.stderr)
        results = call.run()
        paths = out or []
        if len(paths) not in (0, 1, len(results)):
            raise typer.BadParameter(f"{handle.algorithm.name} has {len(results)} results", param_hint="--out")
        if len(paths) == 1:
            save(paths[0], results)
        else:
            for path, value in zip(paths, results):
                save(path, [value])
        for line in summary(results, paths):
            print(line)


@app.command(name="compile")
@takes_options
def compile_(
    program: Program,
    emit: Annotated[
        str | None,
        typer.Option(
            "--emit",
            help="What to show: graph, loops, dependences, schedule, steps, tree, source, asm, explain; several by commas.",
            show_default="source",
            autocompletion=complete.stages,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder to write these to, or a kernel file, x.usk, for us.load_kernel.")
    ] = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="The kernel file has the backward kernels, too.")] = False,
    size: Sizes = None,
    batch: Batch = "",
    counts: Counts = None,
    inputs: Inputs = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Compile an algorithm: show the stages (the graph, the loops, the schedule, the source), or write a kernel file."""
    from .stages import stage_file, stage_text, wanted_stages, write

    saved = out if out is not None and out.suffix == ".usk" else None
    folder = None if saved else out
    wanted = wanted_stages(emit or ("" if saved else "source"))
    if folder is not None and folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder, and no kernel file (x.usk)", param_hint="--out")
    if gradients and not saved:
        raise typer.BadParameter("they go into a kernel file: -o x.usk", param_hint="--gradients")
    from .session import compile_kernel

    with _reported():
        handle = named_algorithm(program)
        sizes, chosen = size_pairs(size, "--size"), read(flags)
        values, given = input_values(handle, inputs), iteration_counts(handle, counts)
        kernel, said = compile_kernel(handle, values, sizes, leading_shape(batch), given, chosen)
        if said:
            print(said, file=sys.stderr)
        if "c" in wanted and kernel.suffix != "c":
            raise typer.BadParameter(
                f"the target prints no C but .{kernel.suffix}: use --emit source, or --target c", param_hint="--emit"
            )
        for stage in wanted:
            text = stage_text(kernel, stage, plain=flags["schedule"] == PROGRAM_ORDER)
            if folder is None:
                print(text)
                continue
            path = folder / stage_file(kernel, stage, handle.algorithm.name)
            write(path, text.rstrip("\n") + "\n")
            print(f"wrote {path}")
        if saved:
            kernel.save(saved, backward=gradients)
            print(f"wrote {saved}")


@app.command()
@takes_options
def explain(
    program: Program,
    size: Sizes = None,
    batch: Batch = "",
    counts: Counts = None,
    inputs: Inputs = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="Also the kernels of the backward pass.")] = False,
    timed: Annotated[bool, typer.Option("--time", help="Also measure a call, on made-up data where none is given.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="As JSON, for tools.")] = False,
    *,
    flags: dict[str, Any],
) -> None:
    """Tell what a compiled algorithm does and why: statements, dependences, schedule, storage, work, what is no kernel.

    In place of FILE:ALG a kernel file, x.usk, may be named.
    """
    from .explain import show

    if Path(program).suffix == ".usk":
        from ..backends.artifact import stored_kernel

        chosen_by = {"--size": size, "--batch": batch, "-K": counts, "--input": inputs, "--time": timed}
        for option in [*(o for o, value in chosen_by.items() if value), *changed(flags)]:
            raise typer.BadParameter("a kernel file is compiled; only --gradients and --json go with it", param_hint=option)
        with _reported():
            show(stored_kernel(program), None, gradients=gradients, as_json=json_)
        return
    from .session import compile_kernel, prepare

    with _reported():
        handle = named_algorithm(program)
        sizes, lead, chosen = size_pairs(size, "--size"), leading_shape(batch), read(flags)
        values, given = input_values(handle, inputs), iteration_counts(handle, counts)
        call = prepare(handle, values, sizes, lead, given, chosen) if timed else None
        kernel, said = compile_kernel(handle, values, sizes, lead, given, chosen)
        if said and call is None:
            print(said, file=sys.stderr)
        show(kernel, call, gradients=gradients, as_json=json_)


@app.command()
@takes_options
def report(
    program: Program,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The HTML file to write.", dir_okay=False)] = Path("report.html"),
    inputs: Inputs = None,
    size: Sizes = None,
    batch: Batch = "",
    counts: Counts = None,
    params: Annotated[
        list[str] | None, typer.Option("--param", "-p", metavar="NAME=FILE", help="The value of a parameter, written as an input is.")
    ] = None,
    gradients: Annotated[bool, typer.Option("--gradients", help="Also the kernels of the backward pass.")] = False,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Whether to time a call, the limits of this machine, and the search's candidates.")
    ] = True,
    *,
    flags: dict[str, Any],
) -> None:
    """Write what an algorithm becomes as one HTML file: every stage with its lines linked, drawings, times, and the search's candidates.

    With data (--input, --param) also the parameters at every iteration, and how it converges.
    """
    from .report.report import write_report

    with _reported():
        handle = named_algorithm(program)
        sizes, lead, given = size_pairs(size, "--size"), leading_shape(batch), iteration_counts(handle, counts)
        more: dict[str, Any] = {"params": params or [], "gradients": gradients, "measure": measure}
        for line in write_report(out, program, handle, inputs or [], sizes, lead, given, read(flags), **more):
            print(line, file=sys.stderr)
    print(f"wrote {out}")


@app.command()
def fmt(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Programs, folders of programs, or - for standard input.")],
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if a file would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
) -> None:
    """Format programs in place: one layout, every comment kept, the program unchanged."""
    from .format_files import format_files

    for file in files:
        if not file.exists() and str(file) != "-":
            raise typer.BadParameter(f"there is no file or folder {str(file)!r}", param_hint="FILES")
    if not format_files(files, check=check, diff=diff):
        raise typer.Exit(1)


@app.command()
@takes_options
def bench(
    program: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE:ALG", help="As for run; after --suite NAME --, what the suite takes.", autocompletion=complete.programs),
    ] = None,
    inputs: Inputs = None,
    size: Sizes = None,
    batch: Batch = "",
    counts: Counts = None,
    compiled: Annotated[
        bool, typer.Option("--torch-compile", help="Also torch.compile, loops unrolled: may take minutes.")
    ] = False,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads for everyone; default: torch's.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0, help="Time for sampling each mode.")] = 20.0,
    json_: Annotated[Path | None, typer.Option("--json", dir_okay=False, help="Write everything measured here, too.")] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="Run a suite of a checkout instead: unrolled, polybench.")] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Time an algorithm's kernels against torch eager, forward and backward, interleaved."""
    from . import bench as benchmark

    with _reported():
        if suite is not None:
            raise typer.Exit(benchmark.suite(suite, program or []))
        if len(program or []) != 1:
            raise typer.BadParameter("name one algorithm", param_hint="FILE:ALG")
        from .session import prepare

        handle = named_algorithm((program or [])[0])
        call = prepare(
            handle, input_values(handle, inputs), size_pairs(size, "--size"), leading_shape(batch), iteration_counts(handle, counts), read(flags)
        )
        if call.said:
            print(call.said, file=sys.stderr)
        content = benchmark.run(call, compiled=compiled, threads=threads, seconds=seconds)
        if json_ is not None:
            from .stages import write

            write(json_, content)
            print(f"wrote {json_}")


@app.command()
@takes_options
def tune(
    program: Annotated[str | None, typer.Argument(metavar="FILE:ALG", help="As for run.", autocompletion=complete.programs)] = None,
    inputs: Inputs = None,
    size: Sizes = None,
    batch: Batch = "",
    counts: Counts = None,
    budget: Annotated[str | None, typer.Option("--budget", metavar="60s", help="How long to search and measure, all kernels together.")] = None,
    candidates: Annotated[int | None, typer.Option("--candidates", min=1, help="How many schedules to measure, all kernels together.")] = None,
    method: Annotated[str, typer.Option("--method", help="How to search: beam, or tree (Monte-Carlo tree search).")] = "beam",
    forward: Annotated[bool, typer.Option("--forward", help="Leave out the kernels of the backward pass.")] = False,
    data: Annotated[
        Path | None, typer.Option("--data", dir_okay=False, help="Add all that is measured to this dataset, for dsl train-model.")
    ] = None,
    merge: Annotated[list[Path] | None, typer.Option("--merge", dir_okay=False, help="Add what this file knows to what is remembered here.")] = None,
    export: Annotated[Path | None, typer.Option("--export", dir_okay=False, help="Write what is remembered here to a file.")] = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Search and measure schedules of an algorithm's kernels. Later compiles on this machine use the fastest; Ctrl-C keeps the best so far."""
    from . import tune as tuning

    with _reported():
        if merge or export is not None:
            if program is not None:
                raise typer.BadParameter("--merge and --export take no algorithm", param_hint="FILE:ALG")
            if merge:
                print(tuning.merge(merge))
            if export is not None:
                print(tuning.export(export))
            return
        if program is None:
            raise typer.BadParameter("name an algorithm", param_hint="FILE:ALG")
        if method not in tuning.METHODS:
            raise typer.BadParameter(f"{method!r} is none of {', '.join(tuning.METHODS)}", param_hint="--method")
        from .compile_options import duration
        from .session import prepare

        seconds = duration(budget, "--budget") if budget is not None else None if candidates is not None else tuning.SECONDS
        handle, chosen = named_algorithm(program), read(flags)
        call = prepare(
            handle, input_values(handle, inputs), size_pairs(size, "--size"), leading_shape(batch), iteration_counts(handle, counts), chosen
        )
        if call.said:
            print(call.said, file=sys.stderr)
        print(tuning.run(call, seconds, candidates, method=method, gradients=not forward, data=data))


@app.command()
def dataset(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", dir_okay=False, help="Where the points go: points.jsonl.gz.")],
    programs: Annotated[int, typer.Option("--programs", min=1, help="How many programs the file is to have.")] = 800,
    schedules: Annotated[int, typer.Option("--schedules", min=1, help="Schedules of a program, at most.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2000, help="What programs and schedules are drawn from.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Add to a file that is there.")] = False,
    workers: Annotated[str, typer.Option("--workers", help="Who measures: local, or ray, every machine of a Ray cluster.")] = "local",
    seconds: Annotated[str | None, typer.Option("--seconds", metavar="60min", help="Begin nothing new after so long.")] = None,
) -> None:
    """Measure random schedules of random programs, for the model that ranks schedules. Ctrl-C keeps what is measured; --resume goes on."""
    if workers not in ("local", "ray"):
        raise typer.BadParameter(f"{workers!r} is none of local, ray", param_hint="--workers")
    from .compile_options import duration
    from .dataset import run as collecting

    with _reported():
        limit = math.inf if seconds is None else duration(seconds, "--seconds")
        wanted = collecting.Wanted(programs, schedules, seed, limit)
        print(collecting.run(str(out), wanted, resume=resume, workers=workers))


@app.command(name="train-model")
def train_model(
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Datasets of measured schedules.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", dir_okay=False, help="Where the weights go: x.safetensors.")],
    start: Annotated[
        Path | None, typer.Option("--from", metavar="WEIGHTS", exists=True, dir_okay=False, help="Go on from these weights.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Rounds over the data, at most.")] = 30,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which programs are held out, and what the networks start from.")] = 0,
    without: Annotated[list[str] | None, typer.Option("--without", metavar="GROUP", help="Leave out a group of features.")] = None,
) -> None:
    """Train the model that ranks schedules, and tell how well it ranks those of programs that it has not seen."""
    from . import train_model as training

    with _reported():
        print(training.run(data, out, start, epochs=epochs, seed=seed, without=without or []))


@app.command()
def repl(
    program: Annotated[
        str | None, typer.Argument(metavar="FILE:ALG", help="A program, and the algorithm to look at.", autocompletion=complete.programs)
    ] = None,
) -> None:
    """Look at what a program becomes, and schedule it step by step; reads lines from a pipe, too (`help` lists the commands)."""
    from .repl.loop import run as talk

    if not talk(program):
        raise typer.Exit(1)


@app.command()
def lsp(
    stdio: Annotated[bool, typer.Option("--stdio", help="Standard input and output, which it uses anyway; some editors pass it.")] = False,
) -> None:
    """Serve editors, which start it: errors while you type, types and shapes, completion and more (the Language Server Protocol)."""
    try:
        from .lsp.server import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("pygls", "lsprotocol"):
            raise
        print("error: the language server needs pygls: pip install 'unspool[lsp]'", file=sys.stderr)
        raise typer.Exit(1) from None
    if sys.stdin.isatty():
        print("this speaks to an editor, not to a terminal: docs/editors.md tells how to set one up (Ctrl-C ends it)", file=sys.stderr)
    raise typer.Exit(serve())


@app.command()
@takes_options
def watch(
    program: Program,
    emit: Annotated[
        str | None, typer.Option("--emit", help="What to show, and what is different of it: see dsl compile.", autocompletion=complete.stages)
    ] = None,
    size: Sizes = None,
    batch: Batch = "",
    counts: Counts = None,
    *,
    flags: dict[str, Any],
) -> None:
    """Compile an algorithm, and again whenever its file, or one that it uses, is saved; Ctrl-C ends it."""
    from .session import compile_kernel
    from .stages import stage_text, wanted_stages
    from .watch import watch as watching

    wanted, sizes, chosen = wanted_stages(emit), size_pairs(size, "--size"), read(flags)

    def make() -> str:
        handle = named_algorithm(program)
        kernel, _ = compile_kernel(handle, {}, sizes, leading_shape(batch), iteration_counts(handle, counts), chosen)
        return "\n".join(stage_text(kernel, stage, plain=flags["schedule"] == PROGRAM_ORDER).rstrip("\n") for stage in wanted)

    with _reported():
        try:
            watching(Path(file_and_name(program)[0]), make, lambda text: print(text, flush=True))
        except KeyboardInterrupt:
            return


@app.command()
def opt(
    dump: Annotated[Path, typer.Argument(help="What UNSPOOL_DUMP wrote: x.graph, x.nest or x.tree.", exists=True, dir_okay=False)],
    first: Annotated[str | None, typer.Option("--from", metavar="PASS", help="The pass to begin with: simplify, lower, schedule, scan, emit.")] = None,
    last: Annotated[str, typer.Option("--to", metavar="PASS", help="The last pass; what it makes is shown.")] = "emit",
    target: Annotated[str | None, typer.Option("--target", "-t", help="See `dsl targets`.", autocompletion=complete.targets)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Reductions and products keep their order.")] = False,
    schedule: Annotated[
        Path | None, typer.Option("--schedule", exists=True, dir_okay=False, help="A file of steps for pass schedule, in place of our choice.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", dir_okay=False, help="A file to write it to.")] = None,
) -> None:
    """Take a dumped stage through the passes from one on."""
    from .opt import run as optimize
    from .stages import write

    with _reported():
        text = optimize(dump, first, last, target=target, strict=strict, schedule=schedule)
        if out is None:
            print(text)
        else:
            write(out, text.rstrip("\n") + "\n")
            print(f"wrote {out}")


@app.command()
def targets() -> None:
    """List the targets, and whether they can be used here."""
    from ..backends.explain_text import table
    from .installed import targets as known

    with _reported():
        for line in table([("target", "usable", "by"), *known()]):
            print(line.strip())


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="With --version: what is installed, and which targets work.")] = False,
) -> None:
    """Check, run and compile Unspool programs."""
    if not version:
        if verbose:
            raise typer.BadParameter("it goes with --version", param_hint="--verbose")
        return
    if verbose:
        from .installed import lines

        for line in lines():
            print(line)
    else:
        from ..compiler.version import VERSION

        print(f"unspool {VERSION}")
    raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run the command on ``arguments`` (default: those of the process)."""
    run_app: Callable[..., Any] = app
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return run_app(arguments, prog_name="dsl")


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    """A warning as a line of its own: where in the library it arose is of no interest here."""
    print(f"warning: {message}", file=sys.stderr)
