"""The canonical text of a syntax tree; it parses back to an equal tree. Comments are no part of a tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import syntax as s

_LEVELS = {"or": 1, "and": 2, "not": 3, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "@": 6, "**": 8}
_COMPARISON, _SIGN, _POWER, _POSTFIX = 4, 7, 8, 9


def program_text(program: s.Program) -> str:
    """A whole file."""
    parts: list[str] = []
    for item in program.items:
        lines = _item(item)
        tight = parts and isinstance(item, s.Use) and parts[-1].startswith("use ")
        parts.append(("" if tight or not parts else "\n") + "\n".join(lines) + "\n")
    return "".join(parts)


def _item(item: s.Use | s.Fn | s.AlgorithmDecl) -> list[str]:
    if isinstance(item, s.Use):
        path = f'"{item.path}"' if item.is_file else item.path
        return [f"use {path}" + (f": {_names(item.names)}" if item.names else "")]
    if isinstance(item, s.Fn):
        return _function(f"fn {item.name.text}({_names(item.parameters)})", item.body)
    inputs = ", ".join(("given " if i.given else "") + f"{i.name.text}: {_type(i.type)}" for i in item.inputs)
    where = f" where {_list(item.where)}" if item.where else ""
    return [f"algorithm {item.name.text}({inputs}) -> {_types(item.results)}{where}:", *_block(item.body)]


def _function(head: str, body: Sequence[s.Statement]) -> list[str]:
    only = body[0]
    if len(body) == 1 and isinstance(only, s.Return):
        return [f"{head} = {_list(only.values)}"]
    return [f"{head}:", *_block(body)]


def _names(names: Iterable[s.Name]) -> str:
    return ", ".join(n.text for n in names)


def _list(items: Iterable[s.Expr]) -> str:
    return ", ".join(expression_text(i) for i in items)


def _type(node: s.TypeExpr) -> str:
    if node.of is not None:
        return f"{node.name.text}({node.of.text})"
    return node.name.text + (f"[{_list(node.sizes)}]" if node.sizes else "")


def _types(types: Sequence[s.TypeExpr]) -> str:
    return _type(types[0]) if len(types) == 1 else f"({', '.join(map(_type, types))})"


# -- statements ----------------------------------------------------------------------------------------------------


def _block(statements: Iterable[s.Statement]) -> list[str]:
    return ["    " + line for statement in statements for line in _statement(statement)]


def _statement(node: s.Statement) -> list[str]:
    match node:
        case s.Assign(targets=targets, value=value, type=type):
            written = f": {_type(type)}" if type is not None else ""
            return [f"{_list(targets)}{written} = {_bare(value)}"]
        case s.Augment(target=target, op=op, value=value):
            return [f"{expression_text(target)} {op}= {_bare(value)}"]
        case s.For(generators=generators, until=until, body=body):
            stop = f" until {expression_text(until)}" if until is not None else ""
            return [f"for {_generators(generators)}{stop}:", *_block(body)]
        case s.If(branches=branches, orelse=orelse):
            lines = []
            for word, branch in zip(["if"] + ["elif"] * len(branches), branches, strict=False):
                lines += [f"{word} {expression_text(branch.condition)}:", *_block(branch.body)]
            return lines + (["else:", *_block(orelse)] if orelse else [])
        case s.Return(values=values):
            return [f"return {_list(values)}"]
        case s.Assert(condition=condition, message=message):
            return [f"assert {expression_text(condition)}" + (f", {expression_text(message)}" if message is not None else "")]
        case s.ExprStatement(value=value):
            return [_bare(value)]
        case s.Iterations(name=name, value=value):
            return [f"iterations {name.text} = {expression_text(value)}"]
        case s.ParamDecl():
            return [_param(node)]
        case s.ModuleDecl(name=name, count=count, arguments=arguments, results=results):
            several = f"[{expression_text(count)}]" if count is not None else ""
            return [f"module {name.text}{several}: ({', '.join(map(_type, arguments))}) -> {_types(results)}"]
        case s.Objective(name=name, parameters=parameters, body=body):
            return _function(f"objective {name.text}({_names(parameters)})", body)


def _param(node: s.ParamDecl) -> str:
    text = f"param {node.name.text}" + (f"[{_list(node.sizes)}]" if node.sizes else "")
    if node.constraint is not None:
        bounds = f"({_list(node.constraint.arguments)})" if node.constraint.arguments else ""
        text += f": {node.constraint.name.text}{bounds}"
    return text + (f" = {expression_text(node.init)}" if node.init is not None else "")


def _bare(node: s.Expr) -> str:
    """A tuple without its parentheses."""
    return _list(node.items) if isinstance(node, s.TupleExpr) and len(node.items) > 1 else expression_text(node)


# -- expressions ---------------------------------------------------------------------------------------------------


def expression_text(node: s.Expr | s.Slice | s.EllipsisItem, level: int = 0) -> str:
    """An expression, in parentheses if it binds less tightly than ``level``."""
    text, own = _expression(node)
    return f"({text})" if own < level else text


def _expression(node: s.Expr | s.Slice | s.EllipsisItem) -> tuple[str, int]:
    match node:
        case s.Name(text=text):
            return text, _POSTFIX
        case s.Number(value=value):
            return repr(value), _POSTFIX
        case s.String(text=text):
            return (f"'{text}'" if '"' in text else f'"{text}"'), _POSTFIX
        case s.NoneLiteral():
            return "None", _POSTFIX
        case s.Unary(op="not", operand=operand):
            return f"not {expression_text(operand, 3)}", 3
        case s.Unary(op=op, operand=operand):
            return op + expression_text(operand, _SIGN), _SIGN
        case s.Binary(op="**", left=left, right=right):
            return f"{expression_text(left, _POSTFIX)}**{expression_text(right, _SIGN)}", _POWER
        case s.Binary(op=op, left=left, right=right):
            level = _LEVELS[op]
            return f"{expression_text(left, level)} {op} {expression_text(right, level + 1)}", level
        case s.Compare(ops=ops, operands=operands):
            parts = [expression_text(o, _COMPARISON + 1) for o in operands]
            return parts[0] + "".join(f" {op} {part}" for op, part in zip(ops, parts[1:], strict=True)), _COMPARISON
        case s.Call(function=function, arguments=arguments):
            return f"{expression_text(function, _POSTFIX)}({', '.join(map(_argument, arguments))})", _POSTFIX
        case s.Index(value=value, items=items):
            return f"{expression_text(value, _POSTFIX)}[{', '.join(map(expression_text, items))}]", _POSTFIX
        case s.Attribute(value=value, name=name):
            return f"{expression_text(value, _POSTFIX)}.{name.text}", _POSTFIX
        case s.TupleExpr(items=items):
            return f"({_list(items)}{',' if len(items) == 1 else ''})", _POSTFIX
        case s.ListExpr(items=items):
            return f"[{_list(items)}]", _POSTFIX
        case s.Comprehension(body=body, generators=generators, brackets=brackets):
            text = f"{expression_text(body)} for {_generators(generators)}"
            return (f"[{text}]" if brackets else text), _POSTFIX
        case s.Slice(start=start, stop=stop, step=step):
            bounds = [expression_text(b) if b is not None else "" for b in (start, stop)]
            return ":".join(bounds) + (f":{expression_text(step)}" if step is not None else ""), 0
        case s.EllipsisItem():
            return "...", 0


def _argument(node: s.Argument) -> str:
    return (f"{node.name.text}=" if node.name is not None else "") + expression_text(node.value)


def _generators(generators: Iterable[s.Generator]) -> str:
    return ", ".join(f"{g.index.text} in {_range(g.range)}" for g in generators)


def _range(node: s.RangeExpr) -> str:
    step = f" by {expression_text(node.step)}" if node.step is not None else ""
    return f"{expression_text(node.start)}..{expression_text(node.stop)}{step}"
