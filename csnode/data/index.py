"""An index of a view: the rows of one kind by the value of one column."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from csnode.model.entity import Entity


class Index:
    """Has an entry for each value that some row has now; not for each that ever was."""

    def __init__(self, column: str, rows: Iterable[Entity]) -> None:
        self._column = column
        self._rows: dict[Any, dict[str, Entity]] = {}
        for row in rows:
            self.put(row.id, None, row)

    def having(self, value: Any) -> list[Entity]:
        """List the rows whose column has the value, in no order."""
        return list(self._rows.get(value, {}).values())

    def put(self, id: str, old: Entity | None, row: Entity | None) -> None:
        """Replace the row of that id; None: there was none, or there is none any more."""
        if old is not None:
            held = self._rows.get(was := getattr(old, self._column), {})
            held.pop(id, None)
            if not held:
                self._rows.pop(was, None)
        if row is not None:
            self._rows.setdefault(getattr(row, self._column), {})[id] = row
