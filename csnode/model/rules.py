"""What names, addresses, sizes, checksums and user data may be.

The api asks these rules before it commits, and each driver before it makes anything, so that what
the one accepts the other accepts. A rule returns the value as rows keep it, or raises Invalid.
"""

from __future__ import annotations

import base64
import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from urllib.parse import unquote, urlsplit

from yarl import URL

from csnode.faults import Invalid
from csnode.types import Struct

PREFIX_MIN, PREFIX_MAX = 16, 29  # of a guest network
PUBLIC_MIN, PUBLIC_MAX = 8, 30  # of a zone's public range
PRIVATE = tuple(
    IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)  # RFC 1918 and RFC 6598, as CloudStack allows them for guests
_NO_HOSTS = tuple(
    IPv4Network(cidr) for cidr in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
)  # this host, loopback, link-local, multicast and what lies beyond it

DATA_SERVER = "data-server"  # the router's own name, as CloudStack's guests ask for it
SPECIAL_NAMES = frozenset({DATA_SERVER, "localhost"})  # localhost: RFC 6761, 6.3
DOMAIN_MAX, FULL_NAME_MAX = 190, 253  # CloudStack's; RFC 1035, 2.3.4
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123, 2.1
_HOST_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_MAC = re.compile(r"[0-9A-Fa-f]{1,2}([:.-])(?:[0-9A-Fa-f]{1,2}\1){4}[0-9A-Fa-f]{1,2}")

CPUS_MAX = 255  # more would need an interrupt-remapping IOMMU, which our machines do not have
CPU_MHZ_MAX = 2**31 - 1
MEMORY_MIN_MIB, MEMORY_MAX_MIB = 32, 2**31 - 1
DISK_GIB_MAX = 65536
CARDS_MAX = 32  # of one machine: its PCI ports are made for them when it is defined

USER_DATA_MAX = 1024 * 1024  # characters of Base64
USER_DATA_BYTES_MAX = USER_DATA_MAX // 4 * 3
_LINE_BREAK = re.compile(r"\r?\n")

DIGITS = {"MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}
_CHECKSUM = re.compile(r"(?:\{([A-Za-z0-9-]+)\})?([0-9a-fA-F]+)")


def _said(text: str) -> str:
    """Quote what was given, for a message: no control characters, and not all of a long one."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


# -- names -----------------------------------------------------------------------------------


def host_name(text: str) -> str:
    """Check a machine's host name: it is a label of DNS, and none of the special names."""
    if not _HOST_NAME.fullmatch(text):
        raise Invalid(
            "Invalid name. Vm name can only contain ASCII letters 'a' through 'z', the digits '0' "
            "through '9', and the hyphen ('-'), must be between 1 and 63 characters long, and "
            "can't start or end with \"-\" and can't start with digit"
        )
    if text.lower() in SPECIAL_NAMES:
        raise Invalid(f"Invalid name. The name {text} has a meaning of its own in every network")
    return text


def network_domain(text: str) -> str:
    """Check the DNS suffix of a network's machines."""
    if len(text) > DOMAIN_MAX or not _DOMAIN.fullmatch(text):
        raise Invalid(
            "Invalid network domain. Total length shouldn't exceed 190 chars. Each domain label "
            "must be between 1 and 63 characters long, can contain ASCII letters 'a' through 'z', "
            "the digits '0' through '9', and the hyphen ('-'); can't start or end with \"-\""
        )
    return text


def full_name(host: str, domain: str) -> str:
    """Join a host name and its network's domain; DNS can carry 253 characters of it."""
    name = f"{host}.{domain}" if domain else host
    if len(name) > FULL_NAME_MAX:
        raise Invalid(
            f"Invalid name. {name} has {len(name)} characters with the network's domain; "
            f"DNS carries {FULL_NAME_MAX}"
        )
    return name


# -- addresses -------------------------------------------------------------------------------


def mac_address(text: str) -> str:
    """Read a card's MAC address with `:`, `-` or `.` between its six numbers, as CloudStack does.

    A machine cannot have a group address, nor 00:00:00:00:00:00; libvirt keeps fe:... for itself.
    """
    if not _MAC.fullmatch(text):
        raise Invalid(
            f"Mac address {_said(text)} is not valid: expected 02:00:00:00:00:01 or the like, "
            "with : or - or . in between"
        )
    numbers = [int(part, 16) for part in re.split("[:.-]", text)]
    mac = bytes(numbers).hex(":")
    if numbers[0] & 1:
        raise Invalid(f"Mac address {mac} is not unicast: its first number must be even")
    if not any(numbers):
        raise Invalid(f"Mac address {mac} is not valid: it stands for none")
    if numbers[0] == 0xFE:
        raise Invalid(f"Mac address {mac} is not valid: fe:... is kept for the host's own links")
    return mac


def check_mac(told: str) -> None:
    """Check a MAC address that a driver is told: in the form that rows have, in any case."""
    if mac_address(told) != told.lower():
        raise Invalid(f"Mac address {told} must be told as {mac_address(told)}")


def ipv4_address(text: str, what: str) -> IPv4Address:
    """Read an address in dotted form."""
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise Invalid(f"{what} {_said(text)} is no IPv4 address") from error


def ipv4_network(text: str, what: str) -> IPv4Network:
    """Read a prefix like 10.1.1.0/24, without host bits and without a mask in its place."""
    try:
        found = IPv4Network(text)
    except ValueError as error:
        raise Invalid(f"{what} {_said(text)} is no IPv4 range: {str(error)[-60:]}") from error
    if str(found) != text:  # Python takes 10.1.1.0/0.0.0.255 too
        raise Invalid(f"{what} {_said(text)} must be written {found}")
    return found


def network_of(address: str, netmask: str) -> IPv4Network:
    """Read the network of an address with its netmask in dotted form."""
    try:
        mask = IPv4Address(netmask)
        found = IPv4Network(f"{IPv4Address(address)}/{mask}", strict=False)
    except ValueError as error:
        raise Invalid(
            f"gateway {_said(address)} and netmask {_said(netmask)} are no network"
        ) from error
    if found.netmask != mask:  # Python takes 0.0.0.255 too
        raise Invalid(f"gateway {_said(address)} and netmask {_said(netmask)} are no network")
    return found


def host_in(address: str, network: IPv4Network, what: str) -> IPv4Address:
    """Check that an address is a host's: within the network, and not at its ends."""
    found = ipv4_address(address, what)
    first, last = network.network_address, network.broadcast_address
    if not first < found < last:
        raise Invalid(f"{what} {address} is not an address of a machine in {network}")
    return found


def guest_network(cidr: str, gateway: str) -> IPv4Network:
    """Check a guest network: a private range of a size that a router serves, and its gateway."""
    found = ipv4_network(cidr, "guest network")
    if not PREFIX_MIN <= found.prefixlen <= PREFIX_MAX:
        raise Invalid(
            f"netmask {found.netmask} must be of a /{PREFIX_MIN} to a /{PREFIX_MAX} network"
        )
    if not any(found.subnet_of(private) for private in PRIVATE):
        allowed = ", ".join(str(private) for private in PRIVATE)
        raise Invalid(
            f"guest network {found} must be private (RFC 1918 or 6598): within {allowed}; "
            "what has these addresses outside would be hidden from its machines"
        )
    host_in(gateway, found, "gateway")
    return found


def guest_address(address: str, network: IPv4Network, gateway: str) -> IPv4Address:
    """Check an address that a machine is to have in a guest network."""
    found = host_in(address, network, "ipaddress")
    if found == IPv4Address(gateway):
        raise Invalid(f"ipaddress {address} is the gateway's of {network}")
    return found


def public_range(cidr: str, gateway: str) -> IPv4Network:
    """Check the network that routers have their public side in, and its gateway."""
    found = ipv4_network(cidr, "public range")
    if not PUBLIC_MIN <= found.prefixlen <= PUBLIC_MAX:
        raise Invalid(
            f"public range {found} must have a prefix length of {PUBLIC_MIN} to {PUBLIC_MAX}"
        )
    if any(found.overlaps(other) for other in _NO_HOSTS):
        raise Invalid(f"public range {found} is not of a network that routers can use")
    host_in(gateway, found, "gateway")
    return found


def public_address(address: str, network: IPv4Network, gateway: str) -> IPv4Address:
    """Check an address that a router is to have in the public range."""
    found = host_in(address, network, "public address")
    if found == IPv4Address(gateway):
        raise Invalid(f"public address {address} is the gateway's of {network}")
    return found


def check_apart(guest: IPv4Network, public: IPv4Network) -> None:
    """Check that a guest network and the public range have no address in common."""
    if guest.overlaps(public):
        raise Invalid(
            f"guest network {guest} overlaps the zone's public range {public}; choose another one"
        )


def dns_server(text: str, what: str = "DNS server") -> str:
    """Check a name server that routers ask: they speak IPv4 with machines elsewhere."""
    found = ipv4_address(text, what)
    if any(found in network for network in _NO_HOSTS):
        raise Invalid(f"{what} {text} is no address of a machine that answers routers")
    return str(found)


# -- sizes -----------------------------------------------------------------------------------


def within(value: int | None, name: str, least: int, most: int) -> int:
    """Check a number against its bounds; its name is the caller's."""
    if value is None or not least <= value <= most:
        raise Invalid(f"{name} must be a number from {least} to {most}, not {value}")
    return value


def cpus(value: int | None, name: str) -> int:
    """Check a number of virtual processors."""
    return within(value, name, 1, CPUS_MAX)


def cpu_mhz(value: int | None, name: str) -> int:
    """Check the speed of a virtual processor."""
    return within(value, name, 1, CPU_MHZ_MAX)


def memory_mib(value: int | None, name: str) -> int:
    """Check a machine's memory."""
    return within(value, name, MEMORY_MIN_MIB, MEMORY_MAX_MIB)


def check_cards(count: int, name: str) -> None:
    """Check how many cards a machine has."""
    if count > CARDS_MAX:
        raise Invalid(f"{name}: a machine can be in {CARDS_MAX} networks, not in {count}")


# -- user data -------------------------------------------------------------------------------


def user_data(text: str) -> str:
    """Read user data in Base64 and return it in standard Base64.

    Known variants are its URL-safe alphabet, no padding at all, and lines (RFC 4648, RFC 2045).
    Nothing else is mended: what lost a character on its way would become other bytes.
    """
    plain = _LINE_BREAK.sub("", text)
    if " " in plain:
        raise Invalid(
            "User data is not Base64: it has a space, as a + becomes that is not sent as %2B"
        )
    if ("-" in plain or "_" in plain) and not ("+" in plain or "/" in plain):
        plain = plain.replace("-", "+").replace("_", "/")
    if "=" not in plain:
        plain += "=" * (-len(plain) % 4)
    if len(plain) > USER_DATA_MAX:
        raise Invalid(f"User data has exceeded the maximum length of {USER_DATA_MAX} bytes")
    try:
        exact = base64.b64encode(base64.b64decode(plain, validate=True)) == plain.encode()
    except ValueError as error:  # text beyond ASCII too
        raise Invalid(f"User data is not Base64: {error}") from error
    if not exact:
        raise Invalid("User data is not Base64: its end is cut off or has bits too many")
    return plain


# -- images -------------------------------------------------------------------------------


def image_url(text: str) -> str:
    """Check where an image is fetched from; return the scheme: http, https or file."""
    if not text.isprintable():
        raise Invalid(f"url {_said(text)} is malformed: it has a line break or the like in it")
    try:
        scheme = urlsplit(text).scheme.lower()
        if scheme == "file":
            parts = urlsplit(text)
            whole = parts.netloc in ("", "localhost") and parts.path.startswith("/")
            whole = whole and len(parts.path) > 1 and "\0" not in unquote(parts.path)
        else:
            whole = bool(URL(text).host)  # aiohttp's own parser, which fetches it
    except ValueError as error:
        raise Invalid(f"url {_said(text)} is malformed: {str(error)[:80]}") from error
    if scheme not in ("http", "https", "file"):
        raise Invalid(
            f"url {_said(text)} must begin with http://, https:// or file://: "
            "images are fetched from there"
        )
    if not whole:
        form = "file:///folder/name" if scheme == "file" else f"{scheme}://host/name"
        raise Invalid(f"url {_said(text)} names no image: a {scheme} URL is {form}")
    return scheme


class Checksum(Struct):
    """An algorithm, as one of `DIGITS` names it, and the value expected of it in lower case."""

    algorithm: str
    value: str


def checksum(text: str) -> Checksum | None:
    """Read "{SHA-256}hex", or hex alone whose length tells the algorithm; None if it is blank."""
    if not text.strip():
        return None
    found = _CHECKSUM.fullmatch(text.strip())
    if found:
        value = found[2].lower()
        by_length = next((name for name, n in DIGITS.items() if n == len(value)), "")
        named = (found[1] or by_length).upper()
        if named and DIGITS.get(named) == len(value):
            return Checksum(algorithm=named, value=value)
    raise Invalid(
        f"checksum {_said(text)} is none: give {{SHA-256}} and 64 hex digits, or bare hex digits;"
        f" known are {', '.join(f'{name} ({n} digits)' for name, n in DIGITS.items())}"
    )
