"""Formulas over queries, as in `100 * ((failed + default_zero(aborted)) / requests)`: their values and their units."""

import ast
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# https://docs.datadoghq.com/dashboards/functions/arithmetic/
OPERATORS = {ast.Add: operator.add, ast.Mult: operator.mul, ast.Div: operator.truediv}


class FormulaError(Exception):
    """A formula is outside of the grammar, or its units do not fit together."""


@dataclass(frozen=True)
class Unit:
    """The singular name of a unit, and of the unit that it is divided by; a ratio of equal units has neither."""

    name: str | None = None
    per: str | None = None

    def __add__(self, other: "Unit") -> "Unit":
        if self != other:
            raise FormulaError(f"{self} and {other} cannot be added up")
        return self

    def __truediv__(self, other: "Unit") -> "Unit":
        if self == other:
            return Unit()
        if self.per or other.per or not other.name:
            raise FormulaError(f"{self} cannot be divided by {other}")
        return Unit(self.name, other.name)

    def __rmul__(self, factor: float) -> "Unit":
        if factor != 100 or self != Unit():
            raise FormulaError(f"{factor} times {self}")
        return Unit("percent")


def find_names(formula: str) -> list[str]:
    """List the names of the queries in a formula: `s500` and `accepted` in `s500 / accepted`."""
    names = [node.id for node in ast.walk(parse(formula)) if isinstance(node, ast.Name)]
    return [name for name in names if name != "default_zero"]


def calculate(formula: str, values: Mapping[str, Any]) -> Any:
    """Calculate a formula for the values of its queries: numbers (NaN where a group has none), or units."""
    return evaluate(parse(formula), values)


def parse(formula: str) -> ast.expr:
    try:
        return ast.parse(formula, mode="eval").body
    except SyntaxError as error:
        raise FormulaError(f"{formula} is not a formula") from error


def evaluate(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float()):
            return node.value
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.Call(func=ast.Name(id="default_zero"), args=[argument], keywords=[]):
            value = evaluate(argument, values)
            return 0.0 if isinstance(value, float) and math.isnan(value) else value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            try:
                return OPERATORS[type(op)](evaluate(left, values), evaluate(right, values))
            except ZeroDivisionError:
                return math.nan
            except TypeError as error:
                raise FormulaError(f"{ast.unparse(node)} mixes units and numbers") from error
        case _:
            raise FormulaError(f"unknown expression: {ast.unparse(node)}")
