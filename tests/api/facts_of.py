"""Extract what CloudStack's commands take and answer into facts.json: names and types only.

usage: python -m tests.api.facts_of COMMANDS.jsonl CLIENT-USE.json > tests/api/facts.json
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from csnode.api.command import load_commands


def main(path: Path, uses: Path) -> None:
    """Write one object: by command, its parameters, response fields, wrapper, key and job class."""
    ours = {declared.name for declared in load_commands().values()}
    clients: dict[str, Any] = msgspec.json.decode(uses.read_bytes())
    facts: dict[str, Any] = {}
    for line in path.read_text().splitlines():
        command = msgspec.json.decode(line)
        if command["name"] in ours:
            fields, use = _fields(command), clients.get(command["name"], {})
            facts[command["name"]] = {
                "wrapper": command["wrapper"],
                "key": command.get("entitykey", ""),
                "kind": command["kind"],
                "async": bool(command.get("async")),
                "create": bool(command.get("asynccreate")),
                "classes": command.get("classes", []),
                "params": {p["name"]: p["type"] for p in command["params"]},
                "required": [p["name"] for p in command["params"] if p.get("required")],
                "response": {f["name"]: f["type"] for f in fields},
                "nested": {
                    f["name"]: {part["name"]: part["type"] for part in f["fields"]}
                    for f in fields
                    if f.get("fields")
                },
                "read": sorted({name for client in use.values() for name in client["reads"]}),
            }
    text = msgspec.json.encode(dict(sorted(facts.items())))
    sys.stdout.write(msgspec.json.format(text, indent=1).decode() + "\n")


def _fields(command: dict[str, Any]) -> list[dict[str, Any]]:
    """An answer whose only field is its own key (listCapabilities) is what is in that."""
    fields = command["response"]
    if [f["name"] for f in fields] == [command.get("entitykey")]:
        return fields[0]["fields"]
    return fields


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
