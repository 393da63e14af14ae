"""The check that the watch is alive: it compares what the watch brought with what a list shows.

A watch that died silently brings nothing any more. The reconciles go on without it, only later, so liveness fails and
the process is started again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from realmate.kube_operator.kinds import Object

PATIENCE_S = 90.0


class WatchLag:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, str] = {}
        self._missed_since: dict[str, float] = {}

    def brought(self, source: Object, *, is_gone: bool) -> None:
        uid = source["metadata"]["uid"]
        self._missed_since.pop(uid, None)
        if is_gone:
            self._seen.pop(uid, None)
        else:
            self._seen[uid] = source["metadata"]["resourceVersion"]

    def listed(self, sources: Sequence[Object]) -> None:
        """Note what a list shows. A change is missed from the moment a list shows it until the watch brings it."""
        versions = {each["metadata"]["uid"]: each["metadata"]["resourceVersion"] for each in sources}
        missed = {uid for uid, version in versions.items() if self._seen.get(uid) != version}
        now = self._clock()
        self._missed_since = {uid: self._missed_since.get(uid, now) for uid in missed}

    @property
    def lag_s(self) -> float:
        """The time for which the oldest change has been missed."""
        return max((self._clock() - since for since in self._missed_since.values()), default=0.0)
