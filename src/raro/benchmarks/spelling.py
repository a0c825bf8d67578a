"""One spelling for arithmetic answers that say the same: what a majority vote counts as one answer."""

from __future__ import annotations

import ast

from .arithmetic import MAX_CHARS

OPERATIONS = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def canonical(expression: str) -> str:
    """One spelling for answers that differ only in brackets and in the order of sums and products; the expression itself where
    it is not arithmetic. Python's parser only reads; nothing is ever executed."""
    if len(expression) > MAX_CHARS:
        return expression
    try:
        return _spelled(ast.parse(expression.partition("=")[0].strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return expression


def _spelled(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return str(node.value)
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATIONS:
        raise ValueError("not arithmetic")
    if isinstance(node.op, ast.Sub | ast.Div):
        return f"({_spelled(node.left)}{'-' if isinstance(node.op, ast.Sub) else '/'}{_spelled(node.right)})"
    return f"({('+' if isinstance(node.op, ast.Add) else '*').join(sorted(_terms(node, type(node.op))))})"


def _terms(node: ast.AST, operation: type) -> list[str]:
    """Operands of a nest of one operation that order does not matter to."""
    if isinstance(node, ast.BinOp) and type(node.op) is operation:
        return _terms(node.left, operation) + _terms(node.right, operation)
    return [_spelled(node)]
