"""How a command ends that failed: one line on standard error, and a code of sysexits(3)."""

from __future__ import annotations

import os
import sys
import traceback

from csnode.faults import Broken, Denied, Fault, Invalid, NotFound

USAGE = 64
UNAVAILABLE = 69
SOFTWARE = 70
NO_PERMISSION = 77
CONFIG = 78
INTERRUPTED = 130  # 128 + SIGINT, as shells count

_CODES: dict[type[Fault], int] = {
    Invalid: CONFIG,
    NotFound: CONFIG,
    Denied: NO_PERMISSION,
    Broken: SOFTWARE,
}


def told(error: BaseException) -> int:
    """Say what went wrong, in one line; answers the exit code.

    What is no Fault is a bug of ours: DEBUG=1 in the environment shows where it is.
    """
    error = _innermost(error)
    if isinstance(error, BrokenPipeError):  # whoever read our output has left
        sys.stderr.close()
        return UNAVAILABLE
    if isinstance(error, Fault):
        detail = f" ({error.detail})" if isinstance(error, Broken) and error.detail else ""
        message, code = f"{error.message}{detail}", _code(error)
    else:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        message, code = f"this is a bug, please report it: {said}; DEBUG=1 shows more", SOFTWARE
    if os.environ.get("DEBUG"):
        traceback.print_exception(error)
    print(f"csnode: {' '.join(message.split())}", file=sys.stderr)
    return code


def _code(fault: Fault) -> int:
    return next((code for kind, code in _CODES.items() if isinstance(fault, kind)), UNAVAILABLE)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return error  # pyright: ignore[reportUnknownVariableType]
