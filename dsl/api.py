"""The user's door: load a program, call its algorithms, build them into torch modules, compile them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compiler import options
from ..compiler.diagnostics import DataError
from ..compiler.graph.algorithm import Algorithm
from ..compiler.graph.types import Type, weights_of
from ..compiler.nearest import did_you_mean
from . import syntax as s
from .compile_options import NAMES, CompileOptions
from .functions import FunctionHandle, described_as
from .program import CheckedProgram, load_file, load_text
from .uses import FileScope

if TYPE_CHECKING:
    from ..backends.call import Routine
    from ..backends.executor import Settings
    from ..backends.kernel import Kernel
    from ..backends.module import Layer


def load(source: str | PathLike[str]) -> Program:
    """A program from a file (``str`` or ``Path``), or by the name of a file of the standard library (``us.load("prox")``).

    Raises ProgramError with every error found in it, DataError if there is no such file.
    """
    path = Path(source)
    if not path.is_file() and isinstance(source, str) and source.isidentifier():
        known = options.stdlib_folder() / f"{source}.us"
        if not known.is_file():
            names = ", ".join(stdlib_names()) or "none yet"
            raise DataError(
                f"the standard library has no program {source!r}; there are {names} (files end in .us)"
                + did_you_mean(source, stdlib_names())
            )
        path = known
    if not path.is_file():
        raise DataError(f"there is no file {str(source)!r}" + did_you_mean(path.name, files_beside(path)))
    return Program(load_file(path), path.stem)


def loads(text: str, name: str = "<string>") -> Program:
    """A program from its text; ``name`` is what error messages call it."""
    return Program(load_text(text, name), name)


def files_beside(path: Path) -> list[str]:
    """Names of the programs in the folder of a path."""
    try:
        return sorted(p.name for p in path.parent.glob("*.us"))
    except OSError:
        return []


def stdlib_names() -> list[str]:
    """Names of the programs of the standard library."""
    return sorted(p.stem for p in options.stdlib_folder().glob("*.us"))


class Program:
    """A checked program; its algorithms and functions are attributes. Iterating gives the algorithms."""

    def __init__(self, checked: CheckedProgram, name: str) -> None:
        self._name = name
        self._handles: dict[str, AlgorithmHandle] = {
            n: AlgorithmHandle(a, (_declared(checked, n), checked.scope)) for n, a in checked.algorithms.items()
        }
        self._functions = {n: FunctionHandle(f, checked.scope) for n, f in checked.functions.items()}
        self._checked = checked

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__") and "_handles" in self.__dict__:
            for table in (self._handles, self._functions):
                if name in table:
                    return table[name]
            known = ", ".join([*self._handles, *self._functions]) or "nothing"
            near = did_you_mean(name, [*self._handles, *self._functions])
            raise AttributeError(f"program {self._name} has no {name!r}; it has {known}{near}")
        raise AttributeError(name)

    def __getitem__(self, name: str) -> AlgorithmHandle:
        return self._handles[name]

    def __iter__(self) -> Iterator[AlgorithmHandle]:
        return iter(self._handles.values())

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._handles, *self._functions]

    def __repr__(self) -> str:
        return f"<program {self._name}: {', '.join([*self._handles, *self._functions])}>"

    def __reduce__(self) -> Any:
        return Program, (self._checked, self._name)


class AlgorithmHandle:
    """An algorithm: call it, :meth:`build` it into a torch module, or :meth:`compile` it and look at every stage."""

    #: The algorithm as written and the scope of its names, so that a decorated function can use it.
    written: tuple[s.AlgorithmDecl, FileScope] | None

    def __init__(self, algorithm: Algorithm, written: tuple[s.AlgorithmDecl, FileScope] | None = None) -> None:
        self.algorithm, self.written = algorithm, written
        self.__name__ = algorithm.name
        self.__doc__ = _described(algorithm)
        self._routines: dict[Settings, Routine] = {}

    def __repr__(self) -> str:
        return f"<algorithm {_signature(self.algorithm)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the program and its graph, linked."""
        from .report.notebook import algorithm_html

        return algorithm_html(self)

    def __reduce__(self) -> Any:
        return AlgorithmHandle, (self.algorithm, self.written), described_as(self)

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run on NumPy arrays (NumPy comes back) or torch tensors (torch comes back, differentiable), leading dimensions free.

        Inputs go by position or name; by name also iteration counts, parameters (else they have their initial values),
        learned operators, sizes that no input binds, ``trace``, and the options of
        :class:`~.compile_options.CompileOptions`; where an input has the name of an option, a text is meant for the option.
        Raises DataError for values that do not fit.
        """
        return self._call(inputs, named, objective=False)

    def objective(self, *inputs: Any, **named: Any) -> Any:
        """The declared objective: its own arguments first, then the inputs; otherwise as a call of the algorithm."""
        return self._call(inputs, named, objective=True)

    def build(self, *given: Any, **named: Any) -> Layer:
        """A ``torch.nn.Module``: given inputs become buffers, parameters ``nn.Parameter``, learned operators submodules.

        By name: the given inputs, iteration counts, learned operators, sizes that no given input binds, values that parameters
        start from, and the options of :class:`~.compile_options.CompileOptions`.
        """
        from ..backends.call import match
        from ..backends.module import Layer

        inputs = [i.name for i in self.algorithm.inputs if i.given]
        found = self._sort(named, inputs)
        if found.trace:
            raise DataError("trace goes to a call of the layer, not to build")
        return Layer(
            self.routine(found.options),
            match(f"{self.algorithm.name}.build", inputs, given, found.inputs),
            iterations=found.iterations,
            sizes=found.sizes,
            modules=found.modules,
            params=found.params,
            dtype=found.options.dtype or "f32",
        )

    def compile(self, shapes: Mapping[str, Any] | None = None, **named: Any) -> Kernel:
        """A kernel for given sizes, with every stage it went through.

        ``shapes`` has the sizes by name, and under ``"batch"`` the leading shape of every input that is not given. By name:
        iteration counts, learned operators, values of parameters, and the options of
        :class:`~.compile_options.CompileOptions`.
        """
        from .shown_kernel import ShownKernel

        found = self._sort(named, [])
        if found.trace:
            raise DataError("trace goes to a call of the algorithm or of a layer, not to compile")
        sizes = {**(shapes or {}), **found.sizes}
        lead = sizes.pop("batch", ())
        return ShownKernel(
            self,
            self.routine(found.options),
            sizes=sizes,
            lead=(lead,) if isinstance(lead, int) else tuple(lead),
            iterations=found.iterations,
            modules=found.modules,
            params=found.params,
            dtype=found.options.dtype or "f32",
        )

    def routine(self, chosen: CompileOptions) -> Routine:
        """The routine for some options, one for all uses, so that its kernels are shared."""
        return self._routines[self._settings(*[getattr(chosen, n) for n in NAMES])]

    def _settings(self, *options: Any) -> Settings:
        """The settings that options stand for; a routine with them is there from now on."""
        from ..backends.call import Routine

        settings = CompileOptions(*options).settings
        if settings not in self._routines:
            self._routines[settings] = Routine(self.algorithm, settings)
        return settings

    _settings._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see backends.call.constant, which needs torch

    def _call(self, inputs: Sequence[Any], named: Mapping[str, Any], *, objective: bool) -> Any:
        from ..backends.call import arguments_of, match

        graph = self.algorithm.objective if objective else self.algorithm.graph
        if graph is None:
            raise DataError(f"{self.algorithm.name} declares no objective")
        names = [n for n, _ in arguments_of(self.algorithm, graph)]
        found = self._sort(named, names)
        return self.routine(found.options).call(
            match(self.algorithm.name, names, inputs, found.inputs),
            params=found.params,
            iterations=found.iterations,
            sizes=found.sizes,
            modules=found.modules,
            trace=found.trace,
            dtype=found.options.dtype,
            objective=objective,
        )

    def _sort(self, named: Mapping[str, Any], inputs: Sequence[str]) -> _Named:
        """Keywords by what they name: what the program declares, ``trace`` and the options, the inputs. Where an input is called
        like an option (``target``), a text is meant for the option and anything else for the input.

        Raises DataError for one that names nothing, and for a value that an option does not take.
        """
        from ..backends.call import trace_names

        algorithm = self.algorithm
        found = _Named()
        chosen: dict[str, Any] = {}
        places: list[tuple[dict[str, Any], list[str]]] = [
            (found.params, [p.name for p in algorithm.params]),
            (found.modules, [m.name for m in algorithm.modules]),
            (found.iterations, [n for n, _ in algorithm.iterations]),
            (found.sizes, list(algorithm.size_names)),
            (chosen, [*NAMES, "trace"]),
            (found.inputs, list(inputs)),
        ]
        for key, value in named.items():
            place = next((place for place, names in places if key in names), None)
            if place is chosen and key in inputs and value is not None and not isinstance(value, str):
                place = found.inputs
            if place is None:
                known = sorted({n for place, names in places if place is not chosen for n in names})
                near = did_you_mean(key, [*known, *NAMES, "trace"])
                raise DataError(
                    f"{algorithm.name} takes no {key!r}; by name it takes {', '.join(known)}, and {', '.join([*NAMES, 'trace'])}{near}"
                )
            place[key] = value
        found.trace = trace_names(chosen.pop("trace", None))
        found.options = CompileOptions(**chosen)
        return found


class _Named:
    """Keyword arguments by what they are."""

    options: CompileOptions
    trace: tuple[str, ...]

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.params: dict[str, Any] = {}
        self.modules: dict[str, Any] = {}
        self.iterations: dict[str, Any] = {}
        self.sizes: dict[str, Any] = {}


def _declared(checked: CheckedProgram, name: str) -> s.AlgorithmDecl:
    return next(item for item in checked.scope.own if isinstance(item, s.AlgorithmDecl) and item.name.text == name)


def _written(*types: Type) -> str:
    """Types as a program has them: a scalar has no brackets."""
    return ", ".join(f"weights({f})" if (f := weights_of(t)) else str(t).removesuffix("[]") for t in types)


def _signature(algorithm: Algorithm) -> str:
    inputs = ", ".join(f"{'given ' if i.given else ''}{i.name}: {_written(i.type)}" for i in algorithm.inputs)
    results = _written(*algorithm.results)
    return f"{algorithm.name}({inputs}) -> {results if len(algorithm.results) == 1 else f'({results})'}"


def _described(algorithm: Algorithm) -> str:
    lines = [_signature(algorithm)]
    if algorithm.where:
        lines.append("where " + ", ".join(map(str, algorithm.where)))
    lines += [f"iterations {n} = {c}" for n, c in algorithm.iterations]
    lines += [f"param {p.name}: {_written(p.type)}, {p.constraint.kind}" for p in algorithm.params]
    lines += [f"module {m.name}: ({_written(*m.arguments)}) -> {_written(*m.results)}" for m in algorithm.modules]
    return "\n    ".join(lines)
