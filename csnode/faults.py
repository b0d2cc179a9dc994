"""Everything that can go wrong, in nine words.

A fault says two things: `message` is for the caller, `detail` is for our log. Its kind is the
instruction: `retry` says whether asking again may help. `code` and `cs` are what CloudStack's
API answers (ApiErrorCode, CSExceptionErrorCode); one fault may carry another code than its kind.
"""

from __future__ import annotations

from typing import ClassVar


class Fault(Exception):
    """Something went wrong that a caller should hear about."""

    code: int = 530
    cs: int = 4250
    retry: ClassVar[bool] = False

    def __init__(
        self, message: str, *, detail: str = "", code: int | None = None, cs: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        if code is not None:
            self.code = code
        if cs is not None:
            self.cs = cs


class Invalid(Fault):
    """The request makes no sense, whatever the state of the cloud."""

    code = 431
    cs = 4350


class Denied(Fault):
    """The caller may not do this."""

    code = 531
    cs = 4365


class NotFound(Fault):
    """No such thing, or none that this caller may see."""

    code = 431
    cs = 4350


class Conflict(Fault):
    """The thing is not in a state that allows it."""

    code = 536
    cs = 4370


class Stale(Conflict):
    """A conflict that reading again resolves: the row moved on since it was read."""


class Full(Fault):
    """No host, pool, range or limit has room."""

    code = 533
    cs = 4325


class Unavailable(Fault):
    """Nobody answered in time; asking again may help."""

    code = 534
    cs = 4380
    retry = True


class Gone(Fault):
    """The one asked will never come back; what it held went with it."""

    code = 534
    cs = 4380


class Refused(Fault):
    """A backend said no, and would say no again."""

    code = 530
    cs = 4250


class Outdated(Refused):
    """The order comes from somebody who lost what he ordered about; a later one has spoken."""


class Broken(Fault):
    """A bug of ours."""


def kinds() -> dict[str, type[Fault]]:
    """Return every kind of fault by name, those of plug-ins included."""
    found: dict[str, type[Fault]] = {}
    todo: list[type[Fault]] = [Fault]
    while todo:
        kind = todo.pop()
        found[kind.__name__] = kind
        todo.extend(kind.__subclasses__())
    return found
