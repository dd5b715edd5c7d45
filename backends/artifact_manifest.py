"""An algorithm as JSON and texts, and back. Graphs are texts of their own, which parse back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..compiler.graph.algorithm import Algorithm, Condition, Constraint, Input, ModuleInput, Param
from ..compiler.graph.graph import Graph, Value
from ..compiler.graph.text import parse_graph, print_graph
from ..compiler.graph.types import DTYPES, Type, parse_size
from ..compiler.graph.verify import verify


def type_json(type: Type) -> dict[str, Any]:
    """A type."""
    return {"dtype": type.dtype, "shape": [str(s) for s in type.shape]}


def read_type(found: Mapping[str, Any]) -> Type:
    """A type from its JSON. Raises ValueError."""
    if found["dtype"] not in DTYPES:
        raise ValueError(f"no dtype is called {found['dtype']!r}")
    return Type(found["dtype"], tuple(parse_size(_text(s)) for s in found["shape"]))


def value_json(value: Value) -> dict[str, Any]:
    """A name with its type."""
    return {"name": value.name, **type_json(value.type)}


def read_value(found: Mapping[str, Any]) -> Value:
    """A name with its type, from its JSON."""
    return Value(_text(found["name"]), read_type(found))


def algorithm_json(algorithm: Algorithm, texts: dict[str, str]) -> dict[str, Any]:
    """The algorithm; its graphs go into ``texts``, by the name of an entry."""

    def put(name: str, graph: Graph | None) -> str | None:
        if graph is None:
            return None
        texts[name] = print_graph(graph)
        return name

    return {
        "name": algorithm.name,
        "inputs": [{"name": i.name, "given": i.given, **type_json(i.type)} for i in algorithm.inputs],
        "params": [
            {
                "name": p.name,
                "constraint": [p.constraint.kind, p.constraint.lower, p.constraint.upper],
                "init": put(f"graphs/init_{n}.graph", p.init),
                **type_json(p.type),
            }
            for n, p in enumerate(algorithm.params)
        ],
        "iterations": [list(pair) for pair in algorithm.iterations],
        "modules": [
            {
                "name": m.name,
                "arguments": [type_json(t) for t in m.arguments],
                "results": [type_json(t) for t in m.results],
                "count": None if m.count is None else str(m.count),
            }
            for m in algorithm.modules
        ],
        "where": [[str(c.left), c.op, str(c.right)] for c in algorithm.where],
        "results": [type_json(t) for t in algorithm.results],
        "graph": put("graphs/algorithm.graph", algorithm.graph),
        "objective": put("graphs/objective.graph", algorithm.objective),
        "objective_name": algorithm.objective_name,
        "objective_arguments": list(algorithm.objective_arguments),
    }


def read_algorithm(found: Mapping[str, Any], texts: Mapping[str, str]) -> Algorithm:
    """The algorithm from its JSON and texts. Raises ValueError, KeyError or TypeError for what is none."""

    def get(name: Any) -> Graph | None:
        return None if name is None else read_graph(texts[name])

    graph = get(found["graph"])
    if graph is None:
        raise ValueError("the algorithm has no graph")
    return Algorithm(
        name=_text(found["name"]),
        inputs=tuple(Input(_text(i["name"]), read_type(i), bool(i["given"])) for i in found["inputs"]),
        params=tuple(
            Param(_text(p["name"]), read_type(p), _constraint(p["constraint"]), get(p["init"])) for p in found["params"]
        ),
        iterations=tuple((_text(name), _count(count)) for name, count in found["iterations"]),
        modules=tuple(
            ModuleInput(
                _text(m["name"]),
                tuple(map(read_type, m["arguments"])),
                tuple(map(read_type, m["results"])),
                None if m["count"] is None else parse_size(_text(m["count"])),
            )
            for m in found["modules"]
        ),
        where=tuple(_condition(*c) for c in found["where"]),
        graph=graph,
        results=tuple(map(read_type, found["results"])),
        objective=get(found["objective"]),
        objective_name=_text(found["objective_name"]),
        objective_arguments=tuple(map(_text, found["objective_arguments"])),
    )


def read_graph(text: str) -> Graph:
    """A graph from its text, verified. Raises ValueError or GraphError."""
    graph = parse_graph(text)
    verify(graph)
    return graph


def _constraint(found: Any) -> Constraint:
    kind, lower, upper = found
    if kind not in ("free", "positive", "nonneg", "unit", "interval", "simplex"):
        raise ValueError(f"no constraint is called {kind!r}")
    return Constraint(kind, float(lower), float(upper))


def _condition(left: Any, op: Any, right: Any) -> Condition:
    if op not in ("==", "!=", "<", "<=", ">", ">="):
        raise ValueError(f"no comparison {op!r}")
    return Condition(parse_size(_text(left)), op, parse_size(_text(right)))


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise TypeError(f"{found!r} is no text")
    return found


def _count(found: Any) -> int:
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise ValueError(f"{found!r} is no count")
    return found
