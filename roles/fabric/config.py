"""The [fabric] section of csnode.toml: what a new cloud begins with, and where hosts go."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from csnode.config import Section


class FabricConfig(Section):
    """Read once for what does not exist yet; later changes go through the API."""

    zone: str = "zone1"
    pod: str = "pod1"
    cluster: str = "cluster1"
    guest_cidr: str = "10.1.1.0/24"
    dns1: str = ""  # what routers forward names to; empty: nothing
    dns2: str = ""
    public_cidr: str = "198.51.100.0/24"  # of the addresses that routers take (RFC 5737)
    public_gateway: str = "198.51.100.1"
    public_first: str = "198.51.100.10"
    public_last: str = "198.51.100.250"
    vni_first: int = 1000
    vni_last: int = 100_000
    enrol: bool = True  # hosts and pools that appear are enrolled into the cluster above
    admin_password: str = ""  # of the first user, admin; empty: made, in admin.password in state
    admin_api_key: str = ""  # its keys; empty: none until registerUserKeys
    admin_secret_key: str = ""
    storage_overprovisioning_factor: Annotated[float, Meta(gt=0, le=100)] = 2.0  # of new pools
    fence: str = ""  # of hosts that name none: command, bmc, lease or manual; empty: no HA for new
    fence_options: dict[str, Any] = {}  # that fencer's own
    trust_lease: bool = False  # by lease without watchdog: if a keeper died, guests run twice
    credential_days: Annotated[float, Meta(gt=0)] = 365.0  # of a machine; renewed at two thirds
