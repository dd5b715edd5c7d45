"""The loop tree: the imperative nest that a back end prints.

Integer expressions (:class:`Int`) are over loop variables and the kernel's integer arguments.
Scalar expressions (:class:`Expr`) compute one element with the elementwise ops of the graph table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..diagnostics import Span

#: Kinds of loops whose iterations are dealt out: to the threads of a team; to the blocks of a GPU that work on a problem; to their threads.
DEALT = frozenset({"parallel", "block", "thread"})


def number_in(kind: str, word: str, otherwise: int) -> int:
    """The number behind a word of a loop's kind, as 8 in ``lane8``."""
    return next((int(k[len(word) :]) for k in kind.split() if k.startswith(word)), otherwise)


@dataclass(frozen=True)
class Int:
    """An integer expression: ``op`` is ``const`` (value), ``name`` (name), ``+ - * // % min max``, a
    comparison ``== != < <= > >=``, ``and``, ``or``, ``not`` or ``select`` (condition, then, else)."""

    op: str
    args: tuple[Int, ...] = ()
    value: int = 0
    name: str = ""


@dataclass(frozen=True)
class Array:
    """Storage. ``scope`` says where it lives:

    ``input``/``output``: a pointer the caller passes, one slice per problem of the batch;
    ``problem``: scratch of one problem, shared by the threads that work on it;
    ``thread``: scratch of one thread; ``local``: declared at its :class:`Declare` (rank 0: a register).
    On a GPU also ``block``: memory of one block of threads, for one iteration of a ``block`` loop; ``shared``: as ``problem``, and in
    a block's own memory where one block works on the problem; ``held``: registers, of each thread those elements whose leading indices are
    its numbers along the ``thread by16`` loops around.
    Row-major. ``shape`` may use the kernel's integer arguments (``K``), not loop variables.
    """

    name: str
    dtype: str
    shape: tuple[Int, ...]
    scope: str


@dataclass(frozen=True)
class Load:
    """One element of an array."""

    array: str
    index: tuple[Int, ...]
    dtype: str


@dataclass(frozen=True)
class Literal:
    """A constant; ``value`` is a float, int, bool or complex."""

    value: complex
    dtype: str


@dataclass(frozen=True)
class FromInt:
    """An integer expression as a value of ``dtype``."""

    value: Int
    dtype: str


@dataclass(frozen=True)
class Call:
    """An elementwise op of the graph table (``add``, ``exp``, ``where``, ``cast``, ...) on scalars; also the
    counter-based random numbers ``random_normal`` etc. (key, counter) and ``fold``. ``span`` is known in debug builds."""

    op: str
    args: tuple[Expr, ...]
    dtype: str
    span: Span | None = field(default=None, compare=False, repr=False)


Expr = Load | Literal | FromInt | Call


@dataclass(frozen=True)
class Origin:
    """Where an assignment comes from: a place in the program, and the loops of the program around it with the values of their indices,
    outer ones first. Where not all ``tests`` hold, nothing that it computes is chosen."""

    span: Span | None
    around: tuple[tuple[str, Int], ...] = ()
    tests: tuple[Expr, ...] = ()


@dataclass(frozen=True)
class Store:
    """``array[index] = value``, or with ``reduce`` (``add mul max min and or``) an accumulation into it. ``statement``: that of the nest
    which it is an instance of. ``origin`` is known in debug builds."""

    array: str
    index: tuple[Int, ...]
    value: Expr
    reduce: str = ""
    statement: str = field(default="", compare=False, repr=False)
    origin: Origin | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Loop:
    """``for name in lower..upper by step`` (step > 0, upper exclusive).

    ``kind``: ``serial``; ``parallel`` (iterations split over the team of threads that works on the
    problem: independent); ``vector`` (iterations independent but for reductions into fixed elements).
    On a GPU ``block`` loops are dealt to the blocks of threads that work on the problem, ``thread`` loops to the threads of a block inside of
    one, else to all threads of these blocks (those nested in each other without anything between as one loop); ``lane8`` loops to 8
    neighbouring threads that have one iteration of the ``thread`` loop around in common, or to 8 threads where there is none, sums as in
    vector loops. What is beside a ``lane`` loop in a ``thread`` loop all of these threads do, but for storing what others can see.
    Of a ``thread by16`` loop iteration ``i`` goes to the thread whose number along the loop is ``i % 16``.
    ``staged2``: serial; what ``thread`` loops at the start of its iterations copy may be copied an iteration ahead, to one of two places.
    ``tensor``: loops over 16 rows, 8 columns, and for sums of products 16 terms, directly inside of each other, that a warp runs in one go, for each
    iteration of the ``thread by`` loops around; an array that is held in registers has there four elements of the tile in each lane.
    The loop ends before the first iteration for which ``until`` holds; iterations for which ``unless`` holds do not run.
    Loops with the same ``share`` that is not 0, which have the same range, give each iteration to the same thread: no barrier is between them.
    """

    name: str
    lower: Int
    upper: Int
    step: int
    body: Block
    kind: str = "serial"
    until: Expr | None = None
    unless: Expr | None = None
    share: int = 0

    @property
    def dealt(self) -> bool:
        """Whether iterations are dealt out to threads, or to blocks of them."""
        return not DEALT.isdisjoint(self.kind.split())

    @property
    def lanes(self) -> int:
        """Threads that have an iteration of the loop around in common and deal out this one; 1 for other loops."""
        return 32 if self.kind == "tensor" else number_in(self.kind, "lane", 1)

    @property
    def numbered(self) -> int:
        """How many threads iterations are dealt to by number; 0 if not by number."""
        return number_in(self.kind, "by", 0)

    @property
    def places(self) -> int:
        """Places that the copies at the start of its iterations take turns in."""
        return number_in(self.kind, "staged", 1)

    @property
    def tests(self) -> tuple[Expr, ...]:
        """What it reads data for, to know which iterations run."""
        return tuple(e for e in (self.until, self.unless) if e is not None)


@dataclass(frozen=True)
class If:
    """A guard."""

    condition: Int
    then: Block
    orelse: Block | None = None


@dataclass(frozen=True)
class Declare:
    """Bring a ``local`` array into scope, uninitialised, from here to the end of the block."""

    array: Array


@dataclass(frozen=True)
class Single:
    """Work that one thread of the team does alone (the others skip it)."""

    body: Block


@dataclass(frozen=True)
class Barrier:
    """Wait for the team."""


@dataclass(frozen=True)
class LibraryCall:
    """A routine of the kernel run-time library on whole arrays: ``name(outputs, inputs, integers)``.
    Each array is given with the index of its first element (trailing axes are taken whole). ``statement`` as in :class:`Store`."""

    name: str
    outputs: tuple[Load, ...]
    inputs: tuple[Load, ...]
    integers: tuple[Int, ...] = ()
    statement: str = field(default="", compare=False, repr=False)


Tree = Loop | If | Declare | Single | Barrier | LibraryCall | Store


@dataclass(frozen=True)
class Block:
    """A sequence."""

    children: tuple[Tree, ...]


@dataclass(frozen=True)
class Function:
    """One kernel: it runs ``body`` for every problem of a batch.

    ``integers`` are the run-time integer arguments by name (iteration counts). ``arrays`` lists all
    but ``local`` ones; inputs and outputs in the order of the call. The batch loop, the team of
    threads and the scratch memory are the writer's. ``blocks``: on a GPU, how many blocks of threads one problem has work for.
    """

    name: str
    integers: tuple[str, ...]
    arrays: tuple[Array, ...]
    body: Block
    tile: Tile | None = None
    blocks: int = 1


@dataclass(frozen=True)
class Tile:
    """The same kernel for up to ``size`` problems side by side: ``function`` has the same inputs and outputs, in the same order.

    ``lanes`` is its integer that holds the number of problems; ``strides`` those that hold, for each operand, the
    distance between problems in elements (empty: the problems must share it). Its other integers are the kernel's own.
    A writer may leave it out. ``least``: how many problems it takes; 0: the writer knows.
    """

    size: int
    lanes: str
    strides: tuple[str, ...]
    function: Function
    least: int = 0
