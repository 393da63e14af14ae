"""Signs what goes into the broker, and lets in only what is signed, where TRANSPORT_KEYS_FILE names the keys."""

from __future__ import annotations

from pathlib import Path

from realmate.runtime.loops import loops
from realmate.runtime.reloading import ReloadingFile
from realmate.sources.transport_keys import TransportKeys, TransportKeysFile
from realmate.transport.validation import Unreadable
from realmate.wire.seals import BrokenSeal, Sealed, seal, timeout_of


class Sealing:
    """The keys of one end of the transport. Without a file it signs nothing, and takes whatever comes."""

    def __init__(self, path: Path | None) -> None:
        """Raises SettingsError."""
        self._file: ReloadingFile[TransportKeys] | None = None
        if path is None:
            return
        self._file = ReloadingFile("transport_keys", TransportKeysFile, path)
        self._watcher = loops.spawn("follow TRANSPORT_KEYS_FILE", self._file.watch)

    def close(self) -> None:
        if self._file is not None:
            self._watcher.kill()

    def seal_batch(self, batch_id: str, reply_to: str, payload: bytes, timeout_ms: int) -> str:
        """The seal; empty without keys."""
        if self._file is None:
            return ""
        return seal(self._file.content, Sealed("batch", batch_id, reply_to, payload), timeout_ms)

    def seal_response(self, batch_id: str, reply_to: str, payload: bytes) -> str:
        """The seal; empty without keys."""
        return "" if self._file is None else seal(self._file.content, Sealed("reply", batch_id, reply_to, payload))

    def check_batch(self, text: str, batch_id: str, reply_to: str, payload: bytes, timeout_ms: int) -> int:
        """Return how long the caller waits: no longer than it has signed.

        Raises Unreadable for what must not be applied.
        """
        signed = self._check(text, Sealed("batch", batch_id, reply_to, payload))
        return timeout_ms if signed is None else min(timeout_ms, signed)

    def check_response(self, text: str, batch_id: str, reply_to: str, payload: bytes) -> None:
        """Raises Unreadable for what must not be believed."""
        self._check(text, Sealed("reply", batch_id, reply_to, payload))

    def _check(self, text: str, sealed: Sealed) -> int | None:
        if self._file is None:
            return None
        try:
            return timeout_of(self._file.content, sealed, text)
        except BrokenSeal as reason:
            raise Unreadable(str(reason)) from None
