"""What the kernel says of this host, from /proc (proc(5)).

libvirt's own figure for memory is wrong where memory was added to a running host.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_PROC = Path("/proc")
_KVM = Path("/dev/kvm")


def cpus() -> int:
    """Count the logical processors that this process's system has."""
    return os.cpu_count() or 1


def memory_mib(proc: Path = _PROC) -> int:
    """Read MemTotal of /proc/meminfo, which counts in KiB."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def cpu_mhz(proc: Path = _PROC) -> int:
    """Return the first processor's clock; 0 where the kernel does not tell."""
    found = re.search(r"^cpu MHz\s*:\s*(\d+)", (proc / "cpuinfo").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def kvm_usable(proc: Path = _PROC, device: Path = _KVM) -> bool:
    """Tell whether the processor has vmx or svm, and the kernel lets us use it.

    The device alone proves nothing: without the flags a guest started on it hangs.
    """
    flags = re.search(r"^flags\s*:(.*)$", (proc / "cpuinfo").read_text(), re.MULTILINE)
    if not flags or not {"vmx", "svm"} & set(flags[1].split()):
        return False
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True
