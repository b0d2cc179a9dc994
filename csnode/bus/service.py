"""Services: what one role may ask of another, written as a Protocol.

Each public async method is a call that travels the bus. Arguments and answer are Messages,
plain values or tuples of them; a class serves a contract by inheriting it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeVar, get_type_hints

import msgspec

F = TypeVar("F", bound=Callable[..., Any])
ANSWER_WITHIN_S = 10.0


class Service(Protocol):
    """Base of every contract."""


def within(seconds: float) -> Callable[[F], F]:
    """Give a slow call more than the usual ten seconds to answer."""

    def mark(method: F) -> F:
        setattr(method, "answer_within_s", seconds)  # noqa: B010
        return method

    return mark


def callers(*roles: str) -> Callable[[F], F]:
    """Say who may call: machines whose credential has one of these roles; everybody without any.

    It marks a method, or a contract for all its methods that are not marked themselves.
    """

    def mark(marked: F) -> F:
        setattr(marked, "callers", frozenset(roles))  # noqa: B010
        return marked

    return mark


class Method(msgspec.Struct, frozen=True):
    """One call of a contract: its name on the wire, its types and its time."""

    name: str  # "Compute.ensure_running"
    contract: type
    attribute: str
    arguments: tuple[Any, ...]  # the types, in order
    answer: Any
    answer_within_s: float
    callers: frozenset[str] = frozenset()  # roles; none: everybody


def contracts_of(served: type) -> list[type]:
    """Return the contracts a class serves: those it inherits."""
    return [c for c in served.__mro__ if Service in c.__bases__]


@cache
def methods_of(contract: type) -> dict[str, Method]:
    """Return the calls of a contract, by attribute name."""
    found: dict[str, Method] = {}
    for attribute, function in inspect.getmembers(contract, inspect.iscoroutinefunction):
        if attribute.startswith("_"):
            continue
        hints = get_type_hints(function, include_extras=True)
        answer = hints.pop("return")
        found[attribute] = Method(
            name=f"{contract.__name__}.{attribute}",
            contract=contract,
            attribute=attribute,
            arguments=tuple(hints.values()),
            answer=answer,
            answer_within_s=getattr(function, "answer_within_s", ANSWER_WITHIN_S),
            callers=getattr(function, "callers", getattr(contract, "callers", frozenset())),
        )
    return found
