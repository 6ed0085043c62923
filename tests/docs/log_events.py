"""The log events of the code, and those that docs/logs.md lists.

    python -m tests.docs.log_events

prints the page again with the rows of today's code: levels and fields are corrected, stale rows
are gone, and new events stand at the end without a meaning, which is left to the author.

An event is a call `event(logger, level, "text", ...)` or `logs.event(...)`, or a
`Change("text", severity, fields)`, which the resolver logs under the same text. The syntax tree is
enough for all of them; nothing is imported. The text must be a literal, or one of two literals of a
conditional expression. Levels and fields may also come from a local variable, a constant, an
attribute of `self` or a function of the same module: then every level or field that occurs there
counts.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "logs.md"
PACKAGE: Final = ROOT / "postfix_mta_sts"

LEVELS: Final = ("debug", "info", "warning", "error")
SEVERITIES: Final = {"DETAIL": "debug", "NOTE": "info", "WARNING": "warning"}
"""The level at which each severity of a `Change` is logged."""
OTHER_METHODS: Final = {*LEVELS, "exception", "critical"}
"""Methods of a logger, which would write a line that is no event."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One event: its levels, lowest first, and its fields in alphabetical order."""

    text: str
    levels: tuple[str, ...]
    fields: tuple[str, ...]

    def __str__(self) -> str:
        """The event as the first three cells of its row."""
        fields = ", ".join(f"`{name}`" for name in self.fields) or "-"
        return f"| `{self.text}` | {', '.join(self.levels)} | {fields} |"


def merged(found: Iterable[LogEvent]) -> dict[str, LogEvent]:
    """Text → the event, with the levels and fields of all its calls."""
    events: dict[str, LogEvent] = {}
    for each in found:
        before = events.get(each.text, LogEvent(each.text, (), ()))
        levels = sorted({*before.levels, *each.levels}, key=LEVELS.index)
        fields = sorted({*before.fields, *each.fields})
        events[each.text] = LogEvent(each.text, tuple(levels), tuple(fields))
    return events


def events_of_code(package: Path = PACKAGE) -> tuple[dict[str, LogEvent], list[str]]:
    """The events of all modules, and what could not be read: `file:line: reason`."""
    found: list[LogEvent] = []
    errors: list[str] = []
    for path in sorted(package.rglob("*.py")):
        events, faults = events_of_module(path.read_text("utf-8"))
        found += events
        errors += [f"{path.relative_to(package.parent)}:{fault}" for fault in faults]
    return merged(found), errors


def events_of_module(source: str) -> tuple[list[LogEvent], list[str]]:
    """The events of one module, and `line: reason` for each call that cannot be read."""
    reader = _Module(ast.parse(source))
    return reader.events, reader.errors


class _Module:
    """Reads the calls of one module."""

    def __init__(self, tree: ast.Module) -> None:
        assignments = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        self._constants = ast.Module([*assignments], [])
        self._functions = {node.name: node for node in ast.walk(tree) if _is_function(node)}
        self.events: list[LogEvent] = []
        self.errors: list[str] = []
        self._visit(tree, tree)

    def _visit(self, node: ast.AST, scope: ast.AST) -> None:
        """Read the calls below a node; `scope` is the innermost function around it."""
        for child in ast.iter_child_nodes(node):
            inner = child if _is_function(child) else scope
            if isinstance(child, ast.Call):
                self._read(child, scope)
            self._visit(child, inner)

    def _read(self, call: ast.Call, scope: ast.AST) -> None:
        callee = ast.unparse(call.func)
        if callee in {"event", "logs.event"}:
            self._read_event(call, scope)
        elif callee == "Change":
            self._read_change(call, scope)
        elif re.fullmatch(rf"_?log(ger|ging)?\.({'|'.join(OTHER_METHODS)})", callee):
            self.errors.append(f"{call.lineno}: logged without event()")

    def _read_event(self, call: ast.Call, scope: ast.AST) -> None:
        if len(call.args) < 3:
            self.errors.append(f"{call.lineno}: level and text must be positional")
            return
        _, level, text, *rest = call.args
        if re.match(r"change\.\w+$", ast.unparse(text)):
            return  # a `Change`, which is read where it is made
        fields = {"domain"} if rest else set()
        for keyword in call.keywords:
            name = "exception" if keyword.arg == "exc_info" else keyword.arg
            fields |= {name} if name else self._keys(keyword.value, scope)
        self._add(call, text, self._levels(level, scope), fields)

    def _read_change(self, call: ast.Call, scope: ast.AST) -> None:
        text, severity, *rest = call.args
        fields = set().union(*(self._keys(each, scope) for each in rest))
        self._add(call, text, self._levels(severity, scope), {"domain", *fields})

    def _add(self, call: ast.Call, text: ast.expr, levels: set[str], fields: set[str]) -> None:
        texts = list(_literals(text))
        if not texts:
            self.errors.append(f"{call.lineno}: the event is no literal: {ast.unparse(text)}")
        if not levels:
            self.errors.append(f"{call.lineno}: no level is known")
        ordered = tuple(sorted(levels, key=LEVELS.index))
        self.events += [LogEvent(each, ordered, tuple(sorted(fields))) for each in texts]

    def _levels(self, expression: ast.expr, scope: ast.AST) -> set[str]:
        return set(filter(None, map(_level, self._reachable(expression, scope))))

    def _keys(self, expression: ast.expr, scope: ast.AST) -> set[str]:
        """The keys of the dicts that an expression is made of."""
        dicts = [each for each in self._reachable(expression, scope) if isinstance(each, ast.Dict)]
        keys = [key for each in dicts for key in each.keys]
        return {str(key.value) for key in keys if isinstance(key, ast.Constant)}

    def _reachable(self, expression: ast.AST, scope: ast.AST) -> list[ast.AST]:
        """The nodes of an expression, and of what its names stand for in this module."""
        seen: list[ast.AST] = []
        left = [(expression, scope)]
        while left:
            start, where = left.pop()
            for node in ast.walk(start):
                if node not in seen:
                    seen.append(node)
                    left += self._meanings(node, where)
        return seen

    def _meanings(self, node: ast.AST, scope: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
        """What a name, an attribute of `self` or a called function stands for, and where."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if function := self._functions.get(node.func.id):
                yield from ((each, function) for each in function.body)
        elif isinstance(node, ast.Name):
            local = list(_assigned(node.id, scope))
            where = scope if local else self._constants
            yield from ((value, where) for value in local or _assigned(node.id, where))
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith("self."):
            yield from (
                (value, function)
                for function in self._functions.values()
                for value in _assigned(ast.unparse(node), function)
            )


def _is_function(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _assigned(target: str, scope: ast.AST) -> Iterator[ast.expr]:
    """The values that are assigned to a name within a scope."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            yield from _matching(target, node.targets, node.value)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
            yield from _matching(target, [node.target], node.value)


def _matching(target: str, targets: Sequence[ast.expr], value: ast.expr) -> Iterator[ast.expr]:
    """The value that goes to `target`, also out of a tuple."""
    for each in targets:
        if ast.unparse(each) == target:
            yield value
        elif isinstance(each, ast.Tuple) and isinstance(value, ast.Tuple):
            for name, part in zip(each.elts, value.elts, strict=False):
                yield from _matching(target, [name], part)


def _level(node: ast.AST) -> str | None:
    """The level that `logging.X` or `Severity.X` stands for."""
    match node:
        case ast.Attribute(value=ast.Name(id="logging"), attr=name) if name.lower() in LEVELS:
            return name.lower()
        case ast.Attribute(value=ast.Name(id="Severity"), attr=name):
            return SEVERITIES.get(name)
    return None


def _literals(text: ast.expr) -> Iterator[str]:
    match text:
        case ast.Constant(value=str(value)):
            yield value
        case ast.IfExp(body=body, orelse=orelse):
            one, other = list(_literals(body)), list(_literals(orelse))
            yield from one + other if one and other else []


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the page: an event, and what it means for an administrator."""

    event: LogEvent
    meaning: str


def rows_of(page: str) -> Iterator[Row]:
    """The rows of all tables of events."""
    for line in page.splitlines():
        if row := row_of(line):
            yield row


def row_of(line: str) -> Row | None:
    """The row that a line is, or None: four cells, of which the first is a text in backquotes."""
    cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
    if not line.startswith("| `") or len(cells) != 4:
        return None
    text, levels, fields, meaning = cells
    named = tuple(re.findall(r"`([^`]+)`", fields))
    return Row(LogEvent(text.strip("`"), tuple(levels.split(", ")), named), meaning)


def faults(rows: Sequence[Row], events: Mapping[str, LogEvent]) -> Iterator[str]:
    """Each difference between the page and the code, and each row without a meaning."""
    listed = [row.event.text for row in rows]
    yield from (f"not in the page: {event}" for text, event in events.items() if text not in listed)
    for row in rows:
        text = row.event.text
        if listed.count(text) > 1:
            yield f"listed {listed.count(text)} times: {text}"
        if text not in events:
            yield f"not in the code: {text}"
        elif row.event != events[text]:
            yield f"should be: {events[text]}"
        if not row.meaning:
            yield f"without a meaning: {text}"


def corrected(page: str, events: Mapping[str, LogEvent]) -> str:
    """The page with the rows of these events; new ones stand at the end, without a meaning."""
    lines = []
    for line in page.splitlines():
        row = row_of(line)
        if row is None:
            lines.append(line)
        elif row.event.text in events:
            lines.append(f"{events[row.event.text]} {row.meaning} |")
    listed = {row.event.text for row in rows_of(page)}
    new = [f"{event}  |" for text, event in events.items() if text not in listed]
    return "\n".join([*lines, *new]) + "\n"


if __name__ == "__main__":
    _events, _errors = events_of_code()
    sys.stdout.write(corrected(PAGE.read_text("utf-8"), _events))
    sys.stderr.writelines(f"{error}\n" for error in _errors)
