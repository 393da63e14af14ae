"""`/admin/endpoints/`: how each endpoint fares; and pausing, resuming and trying one.

A token with `sources` sees an endpoint if the file lets that be told of those sources alone. For such a token any other
endpoint does not exist, because its deliveries, its failures and its pauses are about other sources, too.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from realmate.admin.delivery_attempts import Summary, summary
from realmate.admin.endpoint_states import COUNTED_AT_MOST, EndpointState, states
from realmate.admin.samples import first_wanted, outcome_of, try_out
from realmate.console.calls import NOT_FOUND, Audit, Call, answered, record, record_with
from realmate.console.endpoint_views import Attempt, DayOfAttempts, EndpointList, EndpointView, Tried
from realmate.deliveries.pausing import Found, PlaceForgotten, find, pause, resume
from realmate.feed.reading import STARTING, FeedStarting
from realmate.sources.configuration import ConfigurationError
from realmate.sources.endpoint_file import read_endpoints
from realmate.sources.endpoint_schema import EndpointSettings
from realmate.sources.endpoints import Endpoint
from realmate.wire.responses import Response, problem, unavailable

NOT_BEGUN = problem(
    409, "endpoint_not_begun", "No process of the service `deliveries` has read of this endpoint in the file yet."
)
NOT_IN_FILE = problem(409, "endpoint_not_in_file", "The file of sources does not name this endpoint any more.")
NO_SECRETS = problem(
    409, "secrets_missing", "The console cannot read the endpoints' secrets, with which it would sign a sample."
)
FEED_STARTING = unavailable(STARTING, retry_after_s=5)


def place_forgotten(name: str, since: str) -> Response:
    return problem(
        409,
        "feed_expired",
        "The feed is not kept any more from this endpoint's place on."
        f" To make the deliveries from the conversations: realmate endpoints recover {name} --since {since}",
    )


def list_endpoints(call: Call) -> Response:
    with call.session() as session:
        return answered(EndpointList(_views(session, call)))


def pause_endpoint(call: Call, name: str) -> Response:
    found = found_for(call, name)
    if isinstance(found, Response):
        return found
    with call.lent.transactions.begin() as transaction:
        if pause(transaction, found):
            record_with(transaction, call, Audit("endpoint.pause", name))
            transaction.commit()
    return _shown(call, name)


def resume_endpoint(call: Call, name: str) -> Response:
    """Let it go on. Where it was not paused, its retries are due at once all the same."""
    found = found_for(call, name)
    if isinstance(found, Response):
        return found
    db = call.lent.transactions
    try:
        with db.begin() as transaction:
            resume(db, transaction, found)
            record_with(transaction, call, Audit("endpoint.resume", name))
            transaction.commit()
    except FeedStarting:
        return FEED_STARTING
    except PlaceForgotten as forgotten:
        return place_forgotten(name, f"{forgotten.since:%Y-%m-%dT%H:%M:%SZ}")
    return _shown(call, name)


def try_endpoint(call: Call, name: str) -> Response:
    """Send a sample from here. The deed is in nobody's transaction, so its line has its outcome."""
    if not may_see(call, name):
        return NOT_FOUND
    if name not in call.lent.endpoints():
        return NOT_FOUND if find(call.lent.transactions, name) is None else NOT_IN_FILE
    try:
        endpoint = _with_secrets(call, name)
    except ConfigurationError:
        return NO_SECRETS
    event, result = try_out(endpoint, first_wanted(endpoint))
    with call.session() as session:
        record(session, call, Audit("endpoint.test", name, outcome=outcome_of(result)))
    return answered(
        Tried(
            event.id,
            event.type,
            result.is_delivered,
            result.status,
            result.failure,
            result.answer.decode(errors="backslashreplace"),
            round(result.took_s * 1000),
        )
    )


def may_see(call: Call, name: str) -> bool:
    """Whether this token may know of an endpoint. Another one than the file's is for tokens of all sources alone."""
    if call.holder.sources is None:
        return True
    settings = call.lent.endpoints().get(name)
    return settings is not None and settings.sources is not None and call.holder.sources.issuperset(settings.sources)


def found_for(call: Call, name: str) -> Found | Response:
    """Return the row of an endpoint that this token may see."""
    if not may_see(call, name):
        return NOT_FOUND
    found = find(call.lent.transactions, name)
    if found is not None:
        return found
    return NOT_BEGUN if name in call.lent.endpoints() else NOT_FOUND


def _with_secrets(call: Call, name: str) -> Endpoint:
    """Read an endpoint that the file names, with its secrets. Raises ConfigurationError."""
    settings = call.lent.settings
    named = read_endpoints(settings.sources_file, allow_private=settings.endpoints_allow_private)
    if name not in named:
        raise ConfigurationError(f"endpoints.{name} went while it was read")
    return named[name]


def _shown(call: Call, name: str) -> Response:
    with call.session() as session:
        for view in _views(session, call, name):
            return answered(view)
    return NOT_FOUND  # it ended at this moment


def _views(session: Session, call: Call, only: str | None = None) -> list[EndpointView]:
    settings, connection = call.lent.endpoints(), session.connection()
    return [
        _view(each, settings.get(each.name), None if each.id is None else summary(connection, each.id))
        for each in states(connection, {name: endpoint.url for name, endpoint in settings.items()})
        if only in {None, each.name} and may_see(call, each.name)
    ]


def _view(state: EndpointState, settings: EndpointSettings | None, fares: Summary | None) -> EndpointView:
    reason: Any = state.pause_reason  # the table has these words alone
    return EndpointView(
        name=state.name,
        url=state.url,
        enabled=settings is not None,
        state=_state_of(state),
        since=state.since,
        pause_reason=reason,
        events=sorted(settings.events) if settings is not None and settings.events else None,
        sources=sorted(settings.sources) if settings is not None and settings.sources else None,
        waiting=state.waiting,
        counted_at_most=COUNTED_AT_MOST,
        behind=state.behind,
        next_attempt_at=fares and fares.next_attempt_at,
        last_success=None if fares is None else Attempt.of(fares.success),
        last_failure=None if fares is None else Attempt.of(fares.failure),
        day=DayOfAttempts(**(fares.day if fares is not None else {})),
    )


def _state_of(state: EndpointState) -> Any:
    if state.id is None:
        return "new"
    if state.pause_reason is not None:
        return "paused"
    return "delivering" if state.since is None else "failing"
