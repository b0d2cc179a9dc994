"""The mistakes that are made: each a small edit of a file's text. Pure.

Left alone are annotations, decorators, imports, what is logged or counted, the texts of faults,
and numbers that a module names: there a mistake is seen by the type checker, or is none.
"""

from __future__ import annotations

import ast
from typing import NamedTuple

COMPARED: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="), ast.LtE: ("<", ">"), ast.Gt: (">=", "<="), ast.GtE: (">", "<"),
    ast.Eq: ("!=",), ast.NotEq: ("==",), ast.Is: ("is not",), ast.IsNot: ("is",),
    ast.In: ("not in",), ast.NotIn: ("in",),
}  # fmt: skip
COUNTED: dict[type[ast.operator], str] = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.FloorDiv: "*", ast.Div: "*",
}  # fmt: skip
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
TOLD = {"log", "metrics", "warnings"}  # who hears of it decides nothing


class Mutant(NamedTuple):
    """One mistake: the text from `start` to `end`, in bytes, becomes `after`."""

    operator: str
    line: int
    start: int
    end: int
    after: str

    def of(self, source: bytes) -> bytes:
        """The file with the mistake in it."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants(source: bytes) -> list[Mutant]:
    """Every mistake there is for a file, in the order of its text."""
    found = _Maker(source)
    found.visit(ast.parse(source))
    ordered = sorted(found.made, key=lambda m: (m.start, m.end, m.operator, m.after))
    return [m for m in ordered if source[m.start : m.end] != m.after.encode()]


class _Maker(ast.NodeVisitor):
    """Walks a module and collects."""

    def __init__(self, source: bytes) -> None:
        self.source, self.made = source, list[Mutant]()
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    # -- where things are ----------------------------------------------------------------------

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset

    def _text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self._span(node)
        return self.source[start:end].decode()

    def _put(self, operator: str, node: ast.expr | ast.stmt, after: str) -> None:
        start, end = self._span(node)
        self.made.append(Mutant(operator, node.lineno, start, end, after))

    def _between(self, operator: str, left: ast.expr, right: ast.expr, after: str) -> None:
        """Replace an operator: what stands between its operands, their brackets apart."""
        start, end = self._span(left)[1], self._span(right)[0]
        between = self.source[start:end].decode()
        closed, opened = between.rfind(")") + 1, between.find("(")
        tail = between[opened:] if opened >= closed else ""
        text = f"{between[:closed]} {after} {tail}"
        self.made.append(Mutant(operator, right.lineno, start, end, text))

    # -- statements ----------------------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> None:
        inner = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(inner, ast.Call) and not _tells(inner):
            self._put("dropped call", node, "pass")
            self.generic_visit(node)

    def visit_Module(self, node: ast.Module) -> None:
        for statement in node.body:
            if not _named_number(statement):
                self.visit(statement)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg != "strict":  # of zip: as an assert
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if all(_kept(target) for target in node.targets):
            self._put("dropped assignment", node, "pass")
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._put("dropped assignment", node, "pass")
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._put("dropped statement", node, "pass")

    def visit_Raise(self, node: ast.Raise) -> None:
        if not _never(node):
            self._put("dropped raise", node, "pass")  # and nothing in it: it is said to people

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self._put("dropped return", node, "pass")
        elif not isinstance(node.value, ast.Constant):
            self._put("returned nothing", node, "return None")
        if node.value is not None:
            self.visit(node.value)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._put("other jump", node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        self._put("other jump", node, "continue")

    def visit_If(self, node: ast.If) -> None:
        if _text_of(node.test) != "TYPE_CHECKING" and not _only_tells(node):
            self._negated(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        if not isinstance(node.test, ast.Constant):
            self._negated(node.test)
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        del node  # the type checker's

    def visit_Import(self, node: ast.Import) -> None:
        del node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        del node

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    # -- expressions ---------------------------------------------------------------------------

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negated(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._put("dropped condition", test, "True")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for n, op in enumerate(node.ops):
            for other in COMPARED[type(op)]:
                self._between("comparison", operands[n], operands[n + 1], other)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        word = "or" if isinstance(node.op, ast.And) else "and"
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between("and, or", left, right, word)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._put("dropped not", node, f"({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        text = isinstance(node.left, ast.Constant | ast.JoinedStr) and not _number(node.left)
        if type(node.op) in COUNTED and not text:
            self._between("arithmetic", node.left, node.right, COUNTED[type(node.op)])
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._put("constant", node, str(not node.value))
        elif _number(node):
            self._put("constant", node, f"({self._text(node)} + 1)")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        del node  # a text; where it is an id, swapped arguments and dropped calls show it

    def visit_Call(self, node: ast.Call) -> None:
        if _tells(node):
            return
        if isinstance(node.func, ast.Name) and node.func.id in SWAPPED:
            self._put("other function", node.func, SWAPPED[node.func.id])
        plain = [a for a in node.args if not isinstance(a, ast.Starred)]
        same = isinstance(node.func, ast.Name) and node.func.id in SWAPPED  # in any order
        if len(plain) >= 2 and len(plain) == len(node.args) and not same:
            first, second = plain[0], plain[1]
            start, end = self._span(first)[0], self._span(second)[1]
            middle = self.source[self._span(first)[1] : self._span(second)[0]].decode()
            text = f"{self._text(second)}{middle}{self._text(first)}"
            if self._text(first) != self._text(second):
                self.made.append(Mutant("swapped arguments", first.lineno, start, end, text))
        self.generic_visit(node)

    def _negated(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Compare | ast.UnaryOp):  # theirs are made already
            self._put("negated condition", test, f"(not ({self._text(test)}))")


def _number(node: ast.expr) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _kept(target: ast.expr) -> bool:
    """Whether what is assigned outlives the function: nothing else misses its name."""
    if isinstance(target, ast.Tuple):
        return all(_kept(each) for each in target.elts)
    return isinstance(target, ast.Attribute | ast.Subscript)


def _named_number(node: ast.stmt) -> bool:
    """Whether it gives numbers names: they are choices, and tests call them by their names."""
    if not isinstance(node, ast.Assign):
        return False
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    return all(_number(value) for value in values)


def _never(node: ast.Raise) -> bool:
    """Whether it is the type checker's: that line is never come to."""
    return isinstance(node.exc, ast.Call) and _text_of(node.exc.func) == "AssertionError"


def _only_tells(node: ast.If) -> bool:
    """Whether it decides nothing but what is logged or counted."""
    calls = [each.value for each in node.body if isinstance(each, ast.Expr)]
    told = [call for call in calls if isinstance(call, ast.Call) and _tells(call)]
    return len(told) == len(node.body) and not node.orelse


def _tells(node: ast.Call) -> bool:
    """Whether a call only logs or counts."""
    at: ast.expr = node.func
    while isinstance(at, ast.Attribute | ast.Call):
        at = at.value if isinstance(at, ast.Attribute) else at.func
    return _text_of(at) in TOLD
