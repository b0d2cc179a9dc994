"""Moves of machines from one libvirtd to another, peer to peer: the two speak to each other.

So a move goes on if csnode dies, and whoever asks for it again finds it under way. Everything here
blocks, and runs in a thread.
"""

# libvirt-python says little of its types
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

from msgspec import Meta

from csnode.faults import Conflict, Unavailable
from csnode.model.machine import Move
from csnode.types import Power, Struct, VmId
from roles.compute.drivers.libvirtd import Libvirtd, active, libvirt, paused, unless_gone
from roles.compute.drivers.moved_xml import devices_of, moved_xml

LOOK_S = 0.2  # between looks at a move that somebody else began
LOOKS = 150  # half a minute: by then a move that was cancelled, or all came of, has ended

_ALWAYS = (
    libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE  # a guest that writes faster than the wire is slowed
)
_FAR = {libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE, libvirt.VIR_FROM_NET}
_ENDED = -1
_pause = threading.Event()  # never set: waiting for it is a pause outside every event loop


class MoveOptions(Struct):
    """How libvirtd reaches its peers. The operator sets TLS up for both, as libvirt says."""

    migrate_uri: str = "qemu+tls://{address}/system"  # of a peer, by its host's address
    migrate_stream: str = "tcp://{address}"  # what memory and disks are sent to
    migrate_tls: bool = True  # memory and disks are encrypted on their way
    migrate_mib_s: Annotated[int, Meta(ge=0)] = 0  # at most, of memory; 0: as fast as it goes


Find = Callable[[Libvirtd, VmId], Any]


class Moves:
    """What a host's driver does about them; `find` gives csnode's domain, None if there is none."""

    def __init__(self, options: MoveOptions, find: Find) -> None:
        self._options, self._find = options, find

    def send(self, move: Move, daemon: Libvirtd) -> Power:
        """Join the move that is under way, or begin one; as often as it takes to know the end."""
        vm = move.domain.vm
        while True:
            found = self._find(daemon, vm)
            if (power := _here(found)) is not Power.ON:
                return power
            job = _at_work(found)
            if job == _ENDED:
                continue
            if job == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
                _pause.wait(LOOK_S)
            elif paused(found):
                raise Conflict(f"machine {vm} was left halted by a move that broke")
            else:
                self._begin(found, move, daemon)

    def cancel(self, vm: VmId, stays: bool, daemon: Libvirtd) -> Power:
        for _ in range(LOOKS):
            found = self._find(daemon, vm)
            if (power := _here(found)) is not Power.ON:
                return power
            job = _at_work(found)
            if job == _ENDED:
                continue
            if job != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
                if stays and paused(found):
                    found.resume()
                return Power.ON
            with suppress(libvirt.libvirtError):  # it may have ended by itself
                found.abortJob()
            _pause.wait(LOOK_S)
        raise _endless(vm)

    def arrived(self, vm: VmId, daemon: Libvirtd) -> Power:
        for _ in range(LOOKS):
            found = self._find(daemon, vm)
            if (power := _here(found)) is not Power.ON:
                return power
            job = _at_work(found)
            if job == _ENDED:
                continue
            if job != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN:
                return Power.ABSENT if paused(found) else Power.ON
            _pause.wait(LOOK_S)
        raise _endless(vm)

    def _begin(self, found: Any, move: Move, daemon: Libvirtd) -> None:
        """Move the domain; return when that has ended well. One gone by now is the next look's."""
        options, vm = self._options, move.domain.vm
        address = f"[{move.address}]" if ":" in move.address else move.address
        peer = options.migrate_uri.format(address=address)
        secure = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_MIGRATABLE
        flags = _ALWAYS | (libvirt.VIR_MIGRATE_TLS if options.migrate_tls else 0)
        params: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_URI: options.migrate_stream.format(address=address),
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: moved_xml(found.XMLDesc(secure), move),
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: moved_xml(
                found.XMLDesc(secure | libvirt.VIR_DOMAIN_XML_INACTIVE), move
            ),
        }
        if copied := devices_of(move.copied, move):
            flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC  # what is above the template
            params[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = copied
        if len(copied) < len(move.domain.disks):
            flags |= libvirt.VIR_MIGRATE_UNSAFE  # both open one file, with cache=none
        if options.migrate_mib_s:
            params[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = options.migrate_mib_s
        try:
            found.migrateToURI3(peer, params, flags)
        except libvirt.libvirtError as error:
            if not _has_ended(error, found):
                self._explain(error, vm, move, daemon)

    def _explain(self, error: Any, vm: VmId, move: Move, daemon: Libvirtd) -> None:
        """Raise what the error means, unless another look tells: it is gone, or moved by others."""
        gone = error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN
        if gone or "another migration job" in error.get_error_message():
            return
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_ABORTED:
            raise Conflict(f"the move of machine {vm} was cancelled") from error
        if error.get_error_domain() in _FAR and daemon.alive():
            said = error.get_error_message()
            raise Unavailable(f"machine {vm} cannot move to {move.address}: {said}") from error
        raise error


def _here(found: Any) -> Power:
    """Return its power here: ON also if it is about to go.

    One that was sent away, and not forgotten, is forgotten.
    """
    if found is None:
        return Power.ABSENT
    if active(found):
        return Power.ON
    state = unless_gone(found.state)
    if state is None:
        return Power.ABSENT
    if state[1] != libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED:
        return Power.OFF
    unless_gone(found.undefine)
    return Power.ABSENT


def _at_work(found: Any) -> int:
    """Return which job libvirt is at; 0: none; _ENDED: it just ceased to run, so look again."""
    try:
        job = unless_gone(found.jobStats) or {}
    except libvirt.libvirtError as error:
        if _has_ended(error, found):
            return _ENDED
        raise
    return int(job.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0)) if job.get("type") else 0


def _has_ended(error: Any, found: Any) -> bool:
    """Tell whether that is libvirt's word for a domain that no longer runs, as one moved away."""
    return error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and not active(found)


def _endless(vm: VmId) -> Unavailable:
    return Unavailable(f"the move of machine {vm} does not end")
