"""A cluster's keys for tests: machines with whatever credentials they shall have."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from csnode.clock import wall
from csnode.context import CONTROLLING, HOSTING
from csnode.faults import Denied
from csnode.trust import files
from csnode.trust.credential import Credential, Signed, signed
from csnode.trust.files import Keys, new_authority
from csnode.trust.trust import Trust

ALL = tuple(sorted(CONTROLLING | HOSTING))


class Founded:
    """A cluster; everything is kept below one folder."""

    def __init__(self, folder: Path, cluster: str = "tests") -> None:
        self.folder, self.cluster = folder, cluster
        self.authority = new_authority()
        self.machines: dict[str, Trust] = {}

    def credential(
        self,
        name: str,
        keys: Keys,
        roles: Sequence[str] = ALL,
        places: Sequence[str] = (),
        serial: int = 1,
        *,
        since: float = -300.0,
        until: float = 3600.0,
    ) -> Signed:
        """Make what the cluster says of a machine; times are seconds from now."""
        return signed(
            Credential(
                cluster=self.cluster,
                name=name,
                roles=tuple(roles),
                places=tuple(places),
                key=keys.public,
                verify=keys.verify,
                serial=serial,
                since=wall() + since,
                until=wall() + until,
            ),
            self.authority,
        )

    def machine(
        self, name: str, roles: Sequence[str] = ALL, places: Sequence[str] = (), serial: int = 1
    ) -> Trust:
        """Make a machine of the cluster, with new keys, in a folder of its name."""
        keys, folder = Keys.new(), self.folder / name
        files.write_keys(folder, keys)
        files.write_cluster_keys(folder, (self.authority.public_key().public_bytes_raw(),))
        files.write_credential(folder, self.credential(name, keys, roles, places, serial))
        trust = Trust.read(folder)
        assert trust is not None
        self.machines[name] = trust
        return trust

    def introduce(self) -> None:
        """Show all machines each other's credentials, as beacons would."""
        for one in self.machines.values():
            for other in self.machines.values():
                with suppress(Denied):  # one that was put out
                    one.roll.meet(other.signed)
