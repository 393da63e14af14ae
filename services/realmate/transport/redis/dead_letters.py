"""The dead letters on Redis: entries that were delivered twice, and whose consumers ended before they were finished.

Such an entry probably ends its consumers. It is moved to a small stream of its own, where a person finds it, and no
consumer gets it again. Its sender got no 2xx: it sends the event again, in a batch of its own.

Pending entries are claimed one by one, so that such an entry takes no neighbour with it when it ends its next consumer.
"""

from __future__ import annotations

import structlog

from realmate.transport import metrics
from realmate.transport.redis.connections import COMMANDS, GROUP, CommandPool

DEAD_LETTERS = "realmate:set-aside"
MAX_DELIVERIES = 2
SCRIPT = """
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
if #found == 1 then
    local kept = {}
    for place, value in ipairs(found[1][2]) do
        if place > 32 then break end
        kept[place] = string.sub(value, 1, 65536)
    end
    redis.call('XADD', KEYS[2], 'MAXLEN', 100, '*', 'taken', ARGV[3], 'entry', ARGV[2], unpack(kept))
    redis.call('EXPIRE', KEYS[2], 86400)
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return #found
"""
"""The script runs in Redis, because the entry may be too large for us.

A hundred are kept for a day, of each the first 64 KiB.
"""

log = structlog.get_logger(__name__)


def longest_idle(pool: CommandPool, idle_ms: int) -> tuple[bytes, int] | None:
    """Return the first entry that its consumer has not touched for so long, and how often it was delivered."""
    [pending] = pool.ask(("XPENDING", COMMANDS, GROUP, "IDLE", idle_ms, "-", "+", 1))
    if not pending:
        return None
    entry_id, _consumer, _idle_ms, times = pending[0]
    return entry_id, times


def bury(pool: CommandPool, entry_id: bytes, times: int) -> None:
    [found] = pool.ask(("EVAL", SCRIPT, 2, COMMANDS, DEAD_LETTERS, GROUP, entry_id, times))
    if found:
        metrics.DEAD_LETTERS.inc()
        log.error("batch is a dead letter: nobody finished it", entry_id=entry_id, taken=times, stream=DEAD_LETTERS)
