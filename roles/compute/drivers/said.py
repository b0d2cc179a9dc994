"""What libvirt says of a failure, without its wrapping. Pure."""

from __future__ import annotations

import re


def reason(said: str) -> str:
    """Return qemu's own last words, where libvirt wraps them into its own."""
    words: list[str] = re.findall(r"qemu-system-\w+: (?!warning: )(.+)", said)
    return words[-1] if words else said.removeprefix("internal error: ")
