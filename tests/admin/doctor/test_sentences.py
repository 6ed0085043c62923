"""The sentences of findings, all of them, also those that no test of a rule makes.

What was found goes on after the label of its effect, so it begins small: `warning  relayhost is x`.
Why it matters is a sentence, and begins with a capital. Neither has a full stop, because most end
with something to copy. They are found in the source, by what they can begin with.
"""

import ast
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final, TypeAlias

import pytest

from postfix_mta_sts.admin.doctor import failed_table
from postfix_mta_sts.admin.doctor.judge import _MODULES

MODULES: Final = (*_MODULES, failed_table)
NAMES: Final = ("Postfix", "DANE", "CA ", "TLS", "STARTTLS", "MX ")
"""With what something small may begin all the same."""
PROGRAMS: Final = ("smtp(8)",)
"""With what a sentence may begin, since a program keeps its name."""
Start: TypeAlias = str | None
"""The text with which a sentence begins; None: it is not in the source, such as a path."""


def test_modules() -> None:
    """Enough sentences were found to be all of them."""
    assert len(list(sentences("what"))) > 50
    assert len(list(sentences("why"))) > 50


def is_small(text: Start) -> bool:
    """Whether a text goes on after a label."""
    return text is None or text[0].islower() or text.startswith(NAMES)


def is_sentence(text: Start) -> bool:
    """Whether a text begins a sentence."""
    return text is not None and (text[0].isupper() or text.startswith(PROGRAMS))


def test_what() -> None:
    """What was found begins small, or with a name."""
    assert [each for each in sentences("what") if not is_small(each[1])] == []


def test_why() -> None:
    """Why it matters begins with a capital, or with a program."""
    assert [each for each in sentences("why") if not is_sentence(each[1])] == []


@pytest.mark.parametrize("field", ["what", "why"])
def test_no_full_stop(field: str) -> None:
    """No text of a sentence ends with a full stop."""
    texts = [text for _, text in sentences(field) if text]
    assert [each for each in texts if each.endswith(".") and " " in each] == []


def sentences(field: str) -> Iterator[tuple[str, Start]]:
    """Yield the module and the start of all that is passed to `Finding` as `what` or `why`."""
    for module in MODULES:
        source = Source.of(module)
        for function in source.functions:
            for call in calls(function, "Finding"):
                given = call.args[{"what": 2, "why": 3}[field]]
                for start in source.starts(given, function):
                    yield module.__name__.rpartition(".")[2], start


def calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
    """The calls of a function, or of a method, below a node."""
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and ast.unparse(each.func).rpartition(".")[2] == name:
            yield each


@dataclass(frozen=True)
class Source:
    """A module, and its functions and methods."""

    module: ModuleType
    functions: Sequence[ast.FunctionDef]

    @classmethod
    def of(cls, module: ModuleType) -> "Source":
        """Read the source of a module."""
        tree = ast.parse(inspect.getsource(module))
        found = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)]
        return cls(module, found)

    def starts(self, node: ast.expr, function: ast.FunctionDef) -> set[Start]:  # noqa: PLR0911 (one for each form)
        """What the text that an expression gives in a function may begin with."""
        match node:
            case ast.Constant(value=str(text)):
                return {text}
            case ast.JoinedStr(values=[first, *_]):
                return self.starts(first, function)
            case ast.FormattedValue(value=value) | ast.BinOp(left=value):
                return self.starts(value, function)
            case ast.IfExp(body=one, orelse=other):
                return self.starts(one, function) | self.starts(other, function)
            case ast.BoolOp(values=values):
                return set().union(*(self.starts(each, function) for each in values))
            case ast.Name(id=name):
                return self._named(name, function)
            case ast.Call(func=ast.Attribute(value=value, attr="format")):
                return self.starts(value, function)
            case ast.Call(func=ast.Name(id=name)):
                return self._returned(name)
        return {None}

    def _named(self, name: str, function: ast.FunctionDef) -> set[Start]:
        """What a variable, an argument or a constant may begin with."""
        for each in ast.walk(function):
            match each:
                case ast.Assign(targets=[ast.Name(id=target)]) if target == name:
                    assigned = self._assigned(name, function)
                    return set().union(*(self.starts(value, function) for value in assigned))
                case ast.NamedExpr(target=ast.Name(id=target), value=value) if target == name:
                    return self.starts(value, function)
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value):
                    names = [ast.unparse(target) for target in targets]
                    if name in names:
                        return self._part(value, names.index(name))
        arguments = [each.arg for each in function.args.args]
        if name in arguments:
            return self._given(function.name, arguments.index(name))
        constant = getattr(self.module, name, None)
        return {constant if isinstance(constant, str) else None}

    @staticmethod
    def _assigned(name: str, function: ast.FunctionDef) -> Iterator[ast.expr]:
        for each in ast.walk(function):
            match each:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    yield value

    def _part(self, value: ast.expr, position: int) -> set[Start]:
        """The same for a part of a tuple, which a constant has or a function returns."""
        match value:
            case ast.Subscript(value=ast.Name(id=name)):
                return {each[position] for each in getattr(self.module, name).values()}
            case ast.Call(func=ast.Name(id=name)):
                function = self._function(name)
                returned = [r.value for r in ast.walk(function) if isinstance(r, ast.Return)]
                parts = [r.elts[position] for r in returned if isinstance(r, ast.Tuple)]
                return set().union(*(self.starts(each, function) for each in parts))
        return {None}

    def _given(self, name: str, position: int) -> set[Start]:
        """What the callers of a function in this module pass to it; a loop passes what it has."""
        found = [(f, call) for f in self.functions for call in calls(f, name)]
        texts = (self.starts(call.args[position], f) for f, call in found)
        return set().union(*texts) if found else {None}

    def _returned(self, name: str) -> set[Start]:
        """What a function of this module returns; the empty text is no sentence."""
        if not any(each.name == name for each in self.functions):
            return {None}
        function = self._function(name)
        values = [each.value for each in ast.walk(function) if isinstance(each, ast.Return)]
        found = set().union(*(self.starts(each, function) for each in values if each))
        return found - {""}

    def _function(self, name: str) -> ast.FunctionDef:
        return next(each for each in self.functions if each.name == name)
