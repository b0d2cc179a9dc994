"""What is scarce: values of ranges, tallies with limits, and leases."""

from __future__ import annotations

import ipaddress
from typing import cast

import msgspec

from csnode.contracts.data import Count, Give, Hold, Take
from csnode.contracts.refusal import AtLimit, UsedUp, ValueTaken
from csnode.data.rows import encoded
from csnode.faults import Conflict, Full, Invalid
from csnode.model.ids import taken_value
from csnode.model.stock import Lease, Range, RangeForm, Taken, Tally
from roles.data.draft import Draft

HOLD_MAX_S = 366 * 86400.0


def take(draft: Draft, item: Take) -> None:
    """Take the lowest free value of a range, or the one wished for.

    It is written where it is wanted.
    """
    kind = draft.kind(Range.kind)
    range = cast("Range", kind.parse(item.range, draft.need(kind, item.range).text))
    held = draft.holdings(item.owner).get(range.id)
    if held is None:
        value = _free(draft, range) if item.wish is None else _wished(draft, range, item.wish)
        id = taken_value(range.id, value)
        taken = Taken(id=id, range=range.id, value=value, owner=item.owner)
        draft.put(draft.kind(Taken.kind), taken)
        draft.holdings_of.setdefault(item.owner, {})[range.id] = value
    elif item.wish in (None, held):
        value = held
    else:
        raise Conflict(f"{item.owner} has {_written(range, held)} of {range.id} already")
    if item.column:
        _write(draft, item, _written(range, value))
    draft.got.append(value)


def _free(draft: Draft, range: Range) -> int:
    taken = draft.kind(Taken.kind)
    value = draft.lowest(range.id, range.low)
    while draft.find(taken, taken_value(range.id, value)).text:
        value += 1
    if value > range.high:
        first, last = (str(_written(range, end)) for end in (range.low, range.high))
        reason = UsedUp(range=range.id, first=first, last=last)
        raise Full(f"nothing of the range {range.id} is free", detail=reason.detail)
    draft.lowest_of[range.id] = range.low, value + 1
    return value


def _wished(draft: Draft, range: Range, wish: int) -> int:
    if not range.low <= wish <= range.high:
        raise Invalid(f"{_written(range, wish)} is not in the range {range.id}")
    if draft.find(draft.kind(Taken.kind), taken_value(range.id, wish)).text:
        reason = ValueTaken(range=range.id, value=str(_written(range, wish)))
        text = f"{reason.value} of the range {range.id} is taken"
        raise Conflict(text, detail=reason.detail)
    return wish


def _written(range: Range, value: int) -> int | str:
    if range.form == RangeForm.IPV4:
        try:
            return str(ipaddress.IPv4Address(value))
        except ipaddress.AddressValueError as error:
            raise Invalid(f"the range {range.id} goes beyond IPv4: {value}") from error
    if range.form != RangeForm.NUMBER:
        raise Invalid(f"the range {range.id} is written as {range.form!r}: not ipv4, not number")
    return value


def _write(draft: Draft, item: Take, value: int | str) -> None:
    kind = draft.kind(item.kind)
    columns = {item.column: msgspec.Raw(encoded(value))}
    kind.check_writable(columns, "")
    draft.patch(kind, item.id, draft.need(kind, item.id), columns)


def give(draft: Draft, item: Give) -> None:
    """Free what the owner has of the range, or of all."""
    taken, ranges = draft.kind(Taken.kind), draft.kind(Range.kind)
    for name, value in draft.holdings(item.owner).items():
        if value is None or item.range not in ("", name):
            continue
        draft.remove(taken, taken_value(name, value))
        draft.holdings_of.setdefault(item.owner, {})[name] = None
        row = draft.find(ranges, name)
        if row.text:
            low = cast("Range", ranges.parse(name, row.text)).low
            draft.lowest_of[name] = low, max(low, min(value, draft.lowest(name, low)))


def count(draft: Draft, item: Count) -> None:
    """Add to the owner's tallies; only adding can be too much, and none falls below zero.

    One that is deleted and counted anew in the same commit stays, and its revision goes on.
    """
    kind = draft.kind(Tally.kind)
    row = draft.find(kind, item.owner)
    before = cast("Tally", kind.parse(item.owner, row.text)).used if row.text else {}
    used = dict(before)
    for resource, by in item.by.items():
        has = used.get(resource, 0)
        limit = item.limits.get(resource, -1)
        if by > 0 and has + by > limit >= 0:
            reason = AtLimit(owner=item.owner, resource=resource, limit=limit, has=has, by=by)
            raise Full(
                f"{resource} of {item.owner} is at its limit: "
                f"{by} more than {has} would pass {limit}",
                detail=reason.detail,
                code=535,
                cs=4370,
            )
        used[resource] = max(0, has + by)
    was_there = draft.under.find(kind, item.owner).text
    if used != before and (before or was_there or any(used.values())):
        draft.put(kind, Tally(id=item.owner, used=used))


def hold(draft: Draft, item: Hold) -> None:
    """Take, renew (with its fence) or release (for no seconds) a lease.

    It is free once its time is up; the last holder may renew it until somebody else takes it.
    """
    if not 0 <= item.seconds <= HOLD_MAX_S:
        raise Invalid(f"a lease cannot be held for {item.seconds} s")
    kind = draft.kind(Lease.kind)
    row = draft.find(kind, item.name)
    held = cast("Lease", kind.parse(item.name, row.text)) if row.text else Lease(id=item.name)
    if item.fence and (held.fence, held.holder) != (item.fence, item.holder):
        raise Conflict(f"the lease {item.name} was lost", detail=f"{held.holder} has it")
    if not item.fence and held.until > draft.now and held.holder != item.holder:
        raise Conflict(f"{held.holder} holds the lease {item.name}")
    fence = item.fence or held.fence + 1
    holder = "" if item.fence and not item.seconds else item.holder
    until = draft.now + item.seconds
    draft.put(kind, Lease(id=item.name, holder=holder, fence=fence, until=until))
    draft.got.append(fence)


def check_over(draft: Draft, name: str) -> None:
    """Raise Conflict while somebody holds the lease."""
    kind = draft.kind(Lease.kind)
    row = draft.find(kind, name)
    if row.text and cast("Lease", kind.parse(name, row.text)).until > draft.now:
        raise Conflict(f"the lease {name} is held")
