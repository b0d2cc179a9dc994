"""Judges a cloud: what its records say, held against what hosts and pools really have.

`judge.verify` gathers evidence and holds it against the checks, a file for each kind of thing
that can be wrong; it reads only. `repair` does the cures that cannot hurt.
"""
