"""kill -9 under load, with a recorder that knows nothing of csnode: `make chaos SECONDS=300`.

Roles run as separate processes on simulated hardware that outlives them (hardware). Clients order
machines over HTTP and write down every request and answer (client, load, record); somebody kills
a process every few seconds (killer); two probes ask all the time whether any api answers (probe).
When all is healed and quiet, the record is held against what the API lists and what the hardware
holds, in Jepsen's manner (judge, registers, machines, remains). figures.py says how long things
took, by the role killed, from the record and from the database file.
"""
