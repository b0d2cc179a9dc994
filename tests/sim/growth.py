"""How many entries the containers of a process hold, by the way that leads there from its node."""

from __future__ import annotations

import gc
import types
from collections import Counter, deque
from typing import Any

CODE = (types.ModuleType, type, types.FunctionType, types.CodeType, types.FrameType)
NAMED = 60  # a dict of more than so many keys is no object's own


def entries(root: object) -> Counter[str]:
    """Every dict, list, set and deque that can be reached; those in one place count together."""
    seen: set[int] = set()
    found: Counter[str] = Counter()
    todo: deque[tuple[Any, str]] = deque([(root, type(root).__name__)])
    while todo:
        item, way = todo.popleft()
        if id(item) in seen or isinstance(item, CODE):
            continue
        seen.add(id(item))
        if isinstance(item, dict | list | set | deque):
            found[way] += len(item)  # pyright: ignore[reportUnknownArgumentType]
        todo.extend(_within(item, way))
    return found


def _within(item: Any, way: str) -> list[tuple[Any, str]]:
    if isinstance(item, dict):
        held: dict[Any, Any] = item  # pyright: ignore[reportUnknownVariableType]
        named = len(held) < NAMED and not way.endswith("]")
        values = [(value, f"{way}.{key}" if named else f"{way}[]") for key, value in held.items()]
        return [*values, *((key, f"{way}<key>") for key in held)]
    if isinstance(item, list | tuple | set | frozenset | deque):
        return [(value, f"{way}[]") for value in list(item)]  # pyright: ignore
    own = getattr(item, "__dict__", None)
    name = f"{way}:{type(item).__name__}"
    return [(part, name if part is own else f"{name}>") for part in gc.get_referents(item)]
