"""Admission: which calls a machine may make, by what it proved to be."""

from __future__ import annotations

from csnode.bus.service import Method
from csnode.context import CONTROLLING, HOSTING, NEWCOMER, Context, Principal, role_and_node
from csnode.directory.allowed import is_node_of
from csnode.faults import Denied


def check(who: Principal, method: Method, context: Context) -> None:
    """Raise Denied if the machine may not call that, or calls in another's name."""
    callers = method.callers
    if callers:
        if callers.isdisjoint(who.roles):
            raise Denied(f"{who.name} may not call {method.name}")
    elif NEWCOMER in who.roles:
        raise Denied(f"{who.name} may not call {method.name}: it has not joined")
    if context.caller and not may_speak_as(who, context.caller):
        raise Denied(f"{who.name} may not call as {context.caller}")


def may_speak_as(who: Principal, caller: str) -> bool:
    """Tell whether "role@node", or one half of it, is of that machine."""
    role, node = role_and_node(caller)
    if node is not None:
        known = role in CONTROLLING or role in HOSTING
        return is_node_of(node, who.name) and (not known or role in who.roles)
    return role in who.roles or is_node_of(role, who.name)
