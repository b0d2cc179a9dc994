"""How many requests an account may make, as CloudStack's own throttle has it."""

from __future__ import annotations

from csnode.api.about import Rank
from csnode.api.call import Caller, Options
from csnode.api.parse import BY_SERVER
from csnode.faults import Denied
from csnode.types import AccountId


class Throttle:
    """Counts each account's requests in one api, in windows of [api] throttle_seconds."""

    def __init__(self, options: Options) -> None:
        self._most, self._seconds = options.throttle_max, options.throttle_seconds
        self._windows: dict[AccountId, tuple[float, int]] = {}  # when it ends, requests in it
        self._swept = 0.0

    def check(self, caller: Caller, at: float) -> None:
        """Count a request at that moment. Raises Denied (429) if it is one too many.

        Root admins are not counted, nor who is not known: Turns bound what those cost.
        """
        if not self._most or not caller.user or caller.rank is Rank.ROOT_ADMIN:
            return
        self._sweep(at)
        ends, count = self._windows.get(caller.account, (0.0, 0))
        if ends <= at:
            ends, count = at + self._seconds, 0
        self._windows[caller.account] = ends, count + 1
        if count >= self._most:
            raise Denied(
                "The given user has reached his/her account api limit, please retry after "
                f"{max(1, int((ends - at) * 1000))} ms.",
                code=429,
                cs=BY_SERVER,
            )

    def _sweep(self, at: float) -> None:
        """Forget windows that ended, once in a window."""
        if at < self._swept + self._seconds:
            return
        self._swept = at
        self._windows = {a: window for a, window in self._windows.items() if window[0] > at}
