"""What may be set of the linux driver."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from csnode.types import Struct

Interface = Annotated[str, Meta(pattern=r"\A([A-Za-z][A-Za-z0-9_-]{0,14})?\Z")]
Address = Annotated[str, Meta(pattern=r"\A([0-9]{1,3}(\.[0-9]{1,3}){3})?\Z")]


class LinuxOptions(Struct, forbid_unknown_fields=True):
    """[network.options] of the linux driver."""

    names: Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9]{0,3}\Z")] = "cs"  # begins every name
    public_bridge: Interface = ""  # routers' public links go here; empty: NAMESpub0
    make_public: bool = True  # make that bridge if there is none, with the public gateway on it
    uplink: Interface = ""  # masquerade the public ranges out of it; turns host forwarding on
    vxlan_local: Address = ""  # this host's tunnel address; empty: its own, if not loopback
    mtu: Annotated[int, Meta(ge=576, le=65535 - 50)] = 1450  # of guests, at most
    vxlan_peers: tuple[Address, ...] = ()  # the other hosts'; empty: those of the zone's hosts
