"""Keys, and the files that hold them: one folder a machine, for its owner's eyes only.

    key.json       the machine's own keys: curve (secret, Z85), sign (Ed25519, secret, hex)
    credential     what the cluster says of the machine: a Signed as msgpack, in Base64
    cluster.keys   the cluster's Ed25519 public keys, a line of hex each
    authority.key  the cluster's Ed25519 secret key, hex; only on machines that may admit others
    evicted.json   who was put out: {name: the last serial that is refused}
    local.key      without credential: what this machine's processes share, secret, hex

Each file is replaced whole, so a reader finds the old or the new one.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from csnode.faults import Denied, Invalid, Refused
from csnode.trust.credential import Credential, Signed
from csnode.types import Struct
from csnode.uuids import source

T = TypeVar("T")
KEY = "key.json"
CREDENTIAL = "credential"
CLUSTER_KEYS = "cluster.keys"
AUTHORITY = "authority.key"
EVICTED = "evicted.json"
LOCAL = "local.key"
COMING = "credential.new"  # waits for the key that it is for
SECRET = 0o600
READABLE = 0o644
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_TO_Z85, _FROM_Z85 = bytes.maketrans(_B85, _Z85), bytes.maketrans(_Z85, _B85)


def z85(raw: bytes) -> str:
    """Write bytes, a multiple of four, as ZeroMQ writes keys (RFC 32)."""
    return base64.b85encode(raw).translate(_TO_Z85).decode()


def un_z85(text: str) -> bytes:
    """Read bytes from Z85. Raises ValueError."""
    return base64.b85decode(text.encode("ascii").translate(_FROM_Z85))


class Keys:
    """A machine's keys: one pair for its connections (Curve25519), one to sign with (Ed25519)."""

    def __init__(self, curve: bytes, sign: bytes) -> None:
        """Take the secret halves, 32 bytes each. Raises ValueError if they are not."""
        exchange = X25519PrivateKey.from_private_bytes(curve)
        self._signing = Ed25519PrivateKey.from_private_bytes(sign)
        self.public = z85(exchange.public_key().public_bytes_raw())
        self.secret = z85(curve)
        self.verify = self._signing.public_key().public_bytes_raw()

    @classmethod
    def new(cls) -> Keys:
        """Make keys that nobody else has."""
        return cls(source.randbytes(32), source.randbytes(32))

    @classmethod
    def of(cls, secret: bytes) -> Keys:
        """Derive the keys that follow from a secret of 32 random bytes, always the same."""
        curve = hashlib.blake2b(secret, digest_size=32, person=b"csnode curve").digest()
        sign = hashlib.blake2b(secret, digest_size=32, person=b"csnode sign").digest()
        return cls(curve, sign)

    def sign(self, said: bytes) -> bytes:
        """Make a signature of 64 bytes, which only these keys can make; takes some 50 us."""
        return self._signing.sign(said)

    def kept(self) -> bytes:
        """Write the keys as key.json has them."""
        sign = self._signing.private_bytes_raw().hex()
        return msgspec.json.encode(_KeyFile(curve=self.secret, sign=sign))


class _KeyFile(Struct):
    curve: str
    sign: str


# -- writing -----------------------------------------------------------------------------------


def write_keys(folder: Path, keys: Keys) -> None:
    """Write this machine's keys."""
    _put(folder / KEY, keys.kept(), SECRET)


def write_credential(folder: Path, signed: Signed) -> None:
    """Write what the cluster says of this machine."""
    _put(folder / CREDENTIAL, _text(signed), READABLE)


def write_both(folder: Path, keys: Keys, signed: Signed) -> None:
    """Write new keys and the credential for them; who stops half-way has the one or the other."""
    _put(folder / COMING, _text(signed), READABLE)
    write_keys(folder, keys)
    os.replace(folder / COMING, folder / CREDENTIAL)


def write_cluster_keys(folder: Path, keys: Collection[bytes]) -> None:
    """Write the public keys of the cluster, 32 bytes each."""
    _put(folder / CLUSTER_KEYS, "".join(f"{key.hex()}\n" for key in keys).encode(), READABLE)


def write_authority(folder: Path, key: Ed25519PrivateKey) -> None:
    """Write the cluster's own key: who has it can admit machines."""
    _put(folder / AUTHORITY, key.private_bytes_raw().hex().encode() + b"\n", SECRET)


def write_evicted(folder: Path, serials: Mapping[str, int]) -> None:
    """Write who was put out, besides those the file has already."""
    known = read_evicted(folder)
    merged = {n: max(serials.get(n, 0), known.get(n, 0)) for n in known.keys() | serials.keys()}
    if merged != known:
        _put(folder / EVICTED, msgspec.json.encode(dict(sorted(merged.items()))), READABLE)


def make_local(folder: Path, size: int) -> bytes:
    """Make the key of this machine's processes; read it if another process was faster.

    Raises Invalid, and Denied if this user may not read the folder.
    """
    new = folder / f".{LOCAL}.{os.getpid()}.{source.getrandbits(32):x}"
    _put(new, source.randbytes(size).hex().encode() + b"\n", SECRET)
    try:
        os.link(new, folder / LOCAL)  # refused if there is one: who is first makes it for all
    except FileExistsError:
        pass
    except OSError as error:
        raise Invalid(f"cannot write {folder / LOCAL}: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)
    made = read_local(folder)
    if made is None:
        raise Invalid(f"{folder / LOCAL} was taken away as it was made")
    return made


# -- reading -----------------------------------------------------------------------------------


def read_keys(folder: Path) -> Keys:
    """Read this machine's keys. Raises Invalid, and Refused if others may read the file."""
    file = folder / KEY
    kept = _decoded(file, _secret(file), _KeyFile)
    try:
        return Keys(un_z85(kept.curve), bytes.fromhex(kept.sign))
    except ValueError:
        raise Invalid(f"{file} holds no keys") from None


def read_credential(folder: Path, keys: Keys) -> Signed:
    """Read the credential for these keys. Raises Invalid if there is none."""
    for name in (CREDENTIAL, COMING):
        file = folder / name
        with suppress(FileNotFoundError):
            signed = _signed(file)
            if msgspec.msgpack.decode(signed.body, type=Credential).key == keys.public:
                if name == COMING:
                    os.replace(file, folder / CREDENTIAL)
                return signed
    raise Invalid(f"{folder / CREDENTIAL} is not for the keys in {folder / KEY}")


def read_cluster_keys(folder: Path) -> frozenset[bytes]:
    """Read the public keys of the cluster. Raises Invalid."""
    file = folder / CLUSTER_KEYS
    try:
        keys = frozenset(bytes.fromhex(line) for line in _read(file).decode().split())
    except ValueError:
        keys = frozenset[bytes]()
    if not keys or any(len(key) != 32 for key in keys):
        raise Invalid(f"{file} holds no keys")
    return keys


def read_authority(folder: Path) -> Ed25519PrivateKey | None:
    """Read the cluster's own key; None if this machine may admit nobody.

    Raises Invalid and Refused.
    """
    file = folder / AUTHORITY
    if not file.exists():
        return None
    try:
        return authority_of(bytes.fromhex(_secret(file).decode().strip()))
    except ValueError:
        raise Invalid(f"{file} holds no key") from None


def read_evicted(folder: Path) -> dict[str, int]:
    """Read who was evicted: nobody, if there is no such file. Raises Invalid."""
    file = folder / EVICTED
    return _decoded(file, _read(file), dict[str, int]) if file.exists() else {}


def read_local(folder: Path) -> bytes | None:
    """Read the key of this machine's processes; None if there is none.

    Raises Invalid and Refused, and Denied if this user may not read it.
    """
    file = folder / LOCAL
    try:
        if not file.exists():
            return None
        return bytes.fromhex(_secret(file).decode().strip())
    except PermissionError:
        raise unreadable(folder) from None
    except ValueError:
        raise Invalid(f"{file} holds no key") from None


def unreadable(folder: Path) -> Denied:
    """Say whose keys these are, to another user of this machine."""
    return Denied(
        f"the keys in {folder} are for their owner and root only:"
        " run this as the user that csnode runs as, or as root"
    )


def new_authority() -> Ed25519PrivateKey:
    """Make a key for a cluster."""
    return authority_of(source.randbytes(32))


def authority_of(secret: bytes) -> Ed25519PrivateKey:
    """Make the cluster's key from its 32 bytes. Raises ValueError."""
    return Ed25519PrivateKey.from_private_bytes(secret)


# -- files -------------------------------------------------------------------------------------


def _text(signed: Signed) -> bytes:
    return base64.b64encode(msgspec.msgpack.encode(signed)) + b"\n"


def _signed(file: Path) -> Signed:
    try:
        raw = base64.b64decode(_read(file), validate=False)
        return msgspec.msgpack.decode(raw, type=Signed)
    except (ValueError, msgspec.DecodeError):
        raise Invalid(f"{file} holds no credential") from None


def _decoded(file: Path, raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise Invalid(f"{file} cannot be read: {error}") from None


def _secret(file: Path) -> bytes:
    """Read what only the file's owner may read."""
    try:
        mode = file.stat().st_mode & 0o777
    except PermissionError:
        raise
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}") from error
    if mode & 0o077:
        raise Refused(f"{file} is a secret, and others may read it: chmod 600 {file}")
    return _read(file)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, PermissionError):
        raise
    except OSError as error:
        raise Invalid(f"{file}: {error.strerror}") from error


def _put(file: Path, content: bytes, mode: int) -> None:
    """Replace the file; it is on disk when this returns. Raises Invalid."""
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(new, file)
    except OSError as error:
        raise Invalid(f"cannot write {file}: {error.strerror}") from error
