"""What a machine's credential lets its nodes say of themselves."""

from __future__ import annotations

from ipaddress import ip_address

from csnode.context import Principal
from csnode.directory.directory import Member, Served, Serving
from csnode.faults import Denied

SERVERS: dict[str, str] = {
    Served.DATA: "data",
    Served.MEMBERSHIP: "fabric",
    Served.FABRIC: "fabric",
    "Services": "services",
    Served.COMPUTE: "compute",
    Served.NETWORKING: "network",
    Served.STORAGE: "storage",
    Served.KEEPER: "keeper",
}
"""The role that serves a contract. Those of others (plug-ins) are free, as far as places go."""

AT_PLACES = frozenset({Served.COMPUTE, Served.NETWORKING, Served.STORAGE, Served.KEEPER})


def check(member: Member, who: Principal, key: str) -> None:
    """Raise Denied unless a node of that machine, with that key, may describe itself so."""
    if member.host != who.name or not is_node_of(member.node, who.name):
        raise Denied(f"the machine {who.name} says to be {member.node} on {member.host}")
    if member.key != key:
        raise Denied(f"{member.node} names a key that is not its machine's")
    if not who.roles.issuperset(member.roles):
        more = ", ".join(sorted(set(member.roles) - who.roles))
        raise Denied(f"the machine {who.name} may not play {more}")
    for endpoint in (member.calls, member.events):
        if endpoint and not is_endpoint(endpoint):
            raise Denied(f"the machine {who.name} names an address that is none")
    for served in member.serves:
        _check_served(served, who)


def _check_served(served: Serving, who: Principal) -> None:
    role = SERVERS.get(served.contract)
    if role is not None and role not in who.roles:
        raise Denied(f"the machine {who.name} may not serve {served.contract}")
    if served.at and not who.places.issuperset(served.at):
        place = next(at for at in served.at if at not in who.places)
        raise Denied(f"the machine {who.name} may not serve {served.contract} at {place}")
    if not served.at and (served.contract in AT_PLACES or (role is None and not who.controls)):
        raise Denied(f"the machine {who.name} may not serve {served.contract} everywhere")


def is_endpoint(endpoint: str) -> bool:
    """Tell whether it is "tcp://ADDRESS:PORT".

    A name would be looked up by libzmq, which answers nobody meanwhile; and other transports lead
    into our own process, or to files.
    """
    kind, _, rest = endpoint.partition("://")
    host, _, port = rest.rpartition(":")
    return kind == "tcp" and is_address(host.removeprefix("[").removesuffix("]"), port)


def is_address(host: str, port: str | int) -> bool:
    """Tell whether something can be sent there as it stands."""
    try:
        return not ip_address(host).is_unspecified and 0 < int(port) < 2**16
    except ValueError:
        return False


def start_of(node: str, start: str) -> str:
    """Name one start of a node."""
    return f"{node}#{start}"


def is_node_of(node: str, machine: str) -> bool:
    """Tell whether a node (or a start of it, "NODE#NUMBER") is called as the machine's are."""
    return node.partition("#")[0] == machine or node.startswith(f"{machine}/")
