"""The operations of a console, by its API under `/admin/`. What takes long is a job there, and is followed here."""

from __future__ import annotations

import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import click
import msgspec
import requests

from realmate.admin.api import Api, ReadError, content, items
from realmate.admin.database import AdminError
from realmate.admin.erasures import Erasure
from realmate.admin.operations import Erasing, NoSuchSource, NothingOfIt, Planned, Progress
from realmate.admin.rejections import Filter, Rejection, Summary
from realmate.admin.replay import ReplayAction
from realmate.admin.waiting import patiently
from realmate.conversations.erasing import Erased

POLL_S = 0.5
PATIENCE_S = 60.0
"""For so long a job is asked for again while the console does not answer: another replica may take it over."""
INTERRUPTED = 130
"""The exit code after Ctrl-C."""
OURS = {"X-Realmate-Console": "1"}
"""What tells a console that no other page sends this. It matters where anybody on this machine needs no token."""
_NO_CONSOLE = {requests.codes.not_found, requests.codes.method_not_allowed, requests.codes.not_implemented}


class ByConsole:
    """Is one of the `Operations`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def newest(self, which: Filter, limit: int) -> list[Summary]:
        asked = {
            "source": which.source,
            "code": list(which.codes),
            "since": which.since and which.since.isoformat(),
            "until": which.until and which.until.isoformat(),
            "conversation": which.conversation,
        }
        return [_summary(each) for each in items(self._get, "/admin/rejections/", asked, limit)][::-1]

    def find(self, number: int) -> Rejection | None:
        try:
            told = self._get(f"/admin/rejections/{number}/")
        except ReadError as error:
            if error.status == requests.codes.not_found:
                return None
            raise
        exact = told.get("body_base64")
        body = told["body"].encode() if exact is None else b64decode(exact)
        return Rejection(**msgspec.structs.asdict(_summary(told)), body=body)

    def plan(self, which: Filter) -> list[Planned]:
        """Ask for each source alone where the token is for several: a replay is of one."""
        sources = [which.source] if which.source is not None else self._get("/console/session")["sources"] or [None]
        events: Counter[tuple[str, str]] = Counter()
        for source in sources:
            answer = self._call("POST", "/admin/replays/", json=_replay(which._replace(source=source)))
            events.update({(each["code"], each["action"]): each["events"] for each in content(answer)["counts"]})
        return [
            Planned(code, number, ReplayAction[action.upper()]) for (code, action), number in sorted(events.items())
        ]

    def replay(self, which: Filter, rate: float) -> Iterator[Progress]:
        for job in self._followed(self._begun("replays", _replay(which) | {"dry_run": False, "rate": rate})):
            yield Progress(job["sent"], job["answers"])

    def erase_conversation(self, source: str, conversation_id: str) -> Iterator[Erased]:
        erased = Erased()
        for portion in self._erased(source, {"conversation": conversation_id}):
            erased += portion
            yield portion
        if not any(erased):
            raise NothingOfIt(source, conversation_id)

    def erase_source(self, source: str) -> Erasing:
        return Erasing(None, self._erased(source, {"confirm": source}))

    def erasures(self, limit: int) -> list[Erasure]:
        return [msgspec.convert(each, Erasure) for each in items(self._get, "/admin/erasures/", {}, limit)]

    def export(self, source: str, conversation_id: str) -> bytes:
        try:
            answer = self._call("GET", f"/admin/conversations/{quote(source, safe='')}/{conversation_id}/export")
        except ReadError as error:
            if error.status == requests.codes.not_found:
                raise NothingOfIt(source, conversation_id) from error
            raise
        content(answer)
        return answer.content

    def _erased(self, source: str, what: Mapping[str, str]) -> Iterator[Erased]:
        """Begin to erase, and return what is erased between one look and the next."""
        try:
            job = self._begun("erasures", {"source": source, **what})
        except ReadError as error:
            if error.status == requests.codes.bad_request and "source" in error.fields:
                raise NoSuchSource(source) from error
            raise
        return _between(Erased(**each["erased"]) for each in self._followed(job))

    def _begun(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Begin a job, once however often it must be asked for."""
        answer = self._call("POST", f"/admin/{kind}/", json=body, headers={"Idempotency-Key": str(uuid4())})
        return {**content(answer), "path": answer.headers["Location"]}

    def _followed(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a job again and again until it is done. Raises AdminError where it ends otherwise."""
        path, told = job["path"], None
        try:
            while job["state"] == "running":
                yield job
                time.sleep(POLL_S)
                job = patiently(lambda: self._get(path), PATIENCE_S)
                if job["error"] not in (None, told):
                    told = job["error"]
                    click.echo(f"Not yet ({told}); the console tries again ...", err=True)
        except KeyboardInterrupt:
            click.echo(self._goes_on(path), err=True)
            raise SystemExit(INTERRUPTED) from None
        yield job
        if job["state"] != "done":
            raise AdminError(f"the job {job['id']} is {job['state']}" + (f": {job['error']}" if job["error"] else ""))

    def _goes_on(self, path: str) -> str:
        call = f'{self._api.url}{path} -H "Authorization: Bearer $REALMATE_TOKEN"'
        return (
            "\nThe console goes on without this command. To see how far it is, and to stop it:\n"
            f"  curl {call}\n  curl -X DELETE {call}"
        )

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return content(self._call("GET", path, params=parameters))

    def _call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **request: Any
    ) -> requests.Response:
        try:
            return self._api.call(method, path, headers={**OURS, **(headers or {})}, **request)
        except ReadError as error:
            if error.status in _NO_CONSOLE and not self._is_console():
                message = f"what answers at {self._api.url} is no console; name another server with --url"
                raise AdminError(message) from error
            raise

    def _is_console(self) -> bool:
        """Tell whether there is a console at all: it knows whoever asks, or it says that it does not."""
        try:
            self._api.call("GET", "/console/session")
        except ReadError as error:
            return error.status not in _NO_CONSOLE
        return True


def _between(counts: Iterable[Erased]) -> Iterator[Erased]:
    """Yield by how much each is more than the one before."""
    before = Erased()
    for now in counts:
        yield Erased(*(new - old for new, old in zip(now, before, strict=True)))
        before = now


def _replay(which: Filter) -> dict[str, Any]:
    """Return the filter as POST /admin/replays/ takes it."""
    told = which._asdict()
    told["again"] = not told.pop("unreplayed")
    given = {name: value for name, value in told.items() if value is not None}
    made: dict[str, Any] = msgspec.to_builtins(given)
    return made


def _summary(told: Mapping[str, Any]) -> Summary:
    """Return a rejection as `/admin/` has it. There its replay is a thing of its own."""
    replay = told["replay"] or {}
    replayed = {
        "replayed_at": replay.get("at"),
        "replay_status": replay.get("status"),
        "replay_code": replay.get("code"),
    }
    return msgspec.convert({**told, **replayed}, Summary)
