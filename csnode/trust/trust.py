"""Trust: what this process knows of who belongs to the cluster, itself first of all."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from csnode.clock import wall
from csnode.config import Config
from csnode.faults import Denied, Fault, Invalid
from csnode.log import logger
from csnode.trust import files
from csnode.trust.credential import Signed
from csnode.trust.files import Keys
from csnode.trust.local import folder_of
from csnode.trust.roll import Roll

log = logger("trust")


class Trust:
    """This machine's keys and credential, the cluster's keys, and the roll of its members."""

    def __init__(
        self,
        folder: Path,
        keys: Keys,
        signed: Signed,
        cluster_keys: frozenset[bytes],
        authority: Ed25519PrivateKey | None,
    ) -> None:
        """Take the folder's keys. Raises Denied if the credential is another cluster's, or over."""
        self.folder, self.keys, self.signed = folder, keys, signed
        self.cluster_keys, self.authority = cluster_keys, authority
        credential = signed.opened(cluster_keys, wall())
        self.roll = Roll(credential.cluster, cluster_keys, files.read_evicted(folder))
        try:
            self.credential = self.roll.meet(signed)
        except Denied:  # we were evicted: others will say so; this process alone may go on
            self.credential = credential
        self.roll.listen(self._remember)

    @classmethod
    def read(cls, folder: Path) -> Trust | None:
        """Read what the folder holds; None if it has no credential.

        Raises Invalid or Denied, in one line, if it makes no sense; Refused if a secret in it
        may be read by others.
        """
        try:
            if not (folder / files.CREDENTIAL).exists():
                return None
            keys = files.read_keys(folder)
            signed = files.read_credential(folder, keys)
            cluster_keys = files.read_cluster_keys(folder)
            authority = files.read_authority(folder)
        except PermissionError:
            raise files.unreadable(folder) from None
        except FileNotFoundError as missing:
            raise Invalid(f"{folder} is not whole: {missing.filename} is missing") from None
        try:
            return cls(folder, keys, signed, cluster_keys, authority)
        except Denied as denied:
            raise Denied(f"{folder / files.CREDENTIAL}: {denied.message}") from None

    @classmethod
    def of(cls, config: Config) -> Trust | None:
        """Read what a configuration's folder holds; None without a credential. Raises as `read`."""
        trust = cls.read(folder_of(config))
        if trust is not None and trust.credential.cluster != config.node.cluster:
            raise Invalid(
                f"[node] cluster is {config.node.cluster}, but the credential in {trust.folder}"
                f" is of the cluster {trust.credential.cluster}"
            )
        return trust

    def sign(self, said: bytes) -> bytes:
        """Sign what is said, with this machine's key."""
        return self.keys.sign(said)

    def renew(self, signed: Signed) -> None:
        """Take a newer credential for the same keys. Raises Denied if it is not that."""
        credential = signed.opened(self.cluster_keys, wall())
        own = self.credential
        if (credential.cluster, credential.name, credential.key, credential.verify) != (
            own.cluster, own.name, own.key, own.verify
        ):  # fmt: skip
            raise Denied("the credential is not this machine's")
        if credential.serial < own.serial:
            raise Denied("the credential is older than the one there is")
        self.roll.meet(signed)
        self.signed, self.credential = signed, credential
        if self._owns_file():
            files.write_credential(self.folder, signed)

    def believe(self, cluster_keys: Collection[bytes]) -> None:
        """Trust these keys as the cluster's from now on: while they are changed, two."""
        self.cluster_keys = frozenset(cluster_keys)
        files.write_cluster_keys(self.folder, sorted(self.cluster_keys))
        self.roll.believe(self.cluster_keys)

    def troubles(self) -> tuple[str, ...]:
        """Return why others refuse this machine, in a line; nothing if they do not."""
        if self.roll.who(self.keys.public) is not None:
            return ()
        late = wall() > self.credential.until
        return ("its credential's time is over" if late else "this machine was evicted",)

    def _owns_file(self) -> bool:
        """Return False once this machine has new keys, which its next start reads."""
        try:
            return files.read_keys(self.folder).public == self.keys.public
        except (Fault, OSError):
            return False

    def _remember(self, name: str) -> None:
        """Remember who was put out: refused after a restart too, before anybody can be asked."""
        if not name:
            return
        try:
            files.write_evicted(self.folder, self.roll.put_outs())
        except Fault as fault:
            log.error("an eviction cannot be kept on disk", name=name, why=fault.message)
