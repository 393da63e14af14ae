"""What a receiver of outbound webhooks gets: each event of the feed that it wants, signed, in its order, once or more.

The feed itself is judged by its own laws; here it says what there was to tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from cases import Violation
from feed_reader import Told
from receiver import Arrival


def the_endpoint_misses_nothing(arrivals: Sequence[Arrival], told: Sequence[Told]) -> Iterator[Violation]:
    """What was not taken comes again, until it is."""
    taken = {each.id for each in arrivals if each.is_taken}
    for each in told:
        if each.id not in taken:
            yield Violation("lost", each.conversation, each.at, f"the endpoint never took {each.type} {each.message}")
    for arrival in arrivals:
        if arrival.gap:
            yield Violation("lost", arrival.conversation, arrival.at, f"an event before {arrival.id} was given up")


def the_endpoint_invents_nothing(arrivals: Sequence[Arrival], told: Sequence[Told]) -> Iterator[Violation]:
    known = {each.id: _content(each) for each in told}
    for each in arrivals:
        if each.is_stale:
            continue
        if each.problem:
            yield Violation("wrong", each.conversation, each.at, each.problem)
        elif known.get(each.id) != _content(each):
            yield Violation(
                "wrong", each.conversation, each.at, f"the endpoint got {_content(each)}: {known.get(each.id)}"
            )


def the_endpoint_gets_each_conversation_in_its_order(
    arrivals: Sequence[Arrival], told: Sequence[Told]
) -> Iterator[Violation]:
    """No event comes for the first time before the one before it in its conversation was taken."""
    place_of: dict[str, int] = {}
    length: defaultdict[str, int] = defaultdict(int)
    for each in told:
        place_of[each.id] = length[each.conversation]
        length[each.conversation] += 1
    taken: defaultdict[str, int] = defaultdict(int)
    for arrival in arrivals:
        place = place_of.get(arrival.id)
        if place is None or arrival.is_stale:
            continue
        if place > taken[arrival.conversation]:
            what = f"{arrival.type} {arrival.message} came before the event before it was taken"
            yield Violation("wrong", arrival.conversation, arrival.at, what)
        if arrival.is_taken:
            taken[arrival.conversation] = max(taken[arrival.conversation], place + 1)


LAWS = (
    the_endpoint_misses_nothing,
    the_endpoint_invents_nothing,
    the_endpoint_gets_each_conversation_in_its_order,
)


def check_endpoint(arrivals: Sequence[Arrival], told: Sequence[Told], *, sources: Sequence[str]) -> list[Violation]:
    """Everything that is against the contract of an endpoint that wants the events of these sources."""
    wanted = [each for each in told if not each.problem and each.source in sources]
    return [violation for law in LAWS for violation in law(arrivals, wanted)]


def repeats(arrivals: Sequence[Arrival]) -> int:
    """Return how many events were taken once more than needed."""
    taken = [each.id for each in arrivals if each.is_taken]
    return len(taken) - len(set(taken))


def _content(each: Told | Arrival) -> tuple[str, str, str, str, int, str]:
    return each.type, each.conversation, each.source, each.message, each.position, each.content
