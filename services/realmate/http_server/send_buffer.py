"""The bytes that a connection still has to send: pieces of responses, none of them copied."""

from __future__ import annotations

import socket
from collections import deque


class SendBuffer:
    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self.bytes = 0

    def __bool__(self) -> bool:
        return self.bytes > 0

    def push(self, client: socket.socket, data: bytes) -> None:
        """Send the data after what waits already, as much as the client takes now. Raises OSError where it is gone."""
        sent = 0
        if not self.bytes:  # nearly always, and then nearly always all of it
            try:
                sent = client.send(data)
            except BlockingIOError:
                sent = 0
            if sent == len(data):
                return
        self._pieces.append(memoryview(data)[sent:])
        self.bytes += len(data) - sent

    def clear(self) -> None:
        self._pieces.clear()
        self.bytes = 0

    def send(self, client: socket.socket) -> int:
        """Send what the client takes now, and return how many bytes. Raises OSError where it is gone."""
        total = 0
        while self._pieces:
            piece = self._pieces[0]
            try:
                sent = client.send(piece)
            except BlockingIOError:
                break
            total += sent
            self.bytes -= sent
            if sent < len(piece):
                self._pieces[0] = piece[sent:]
                break
            self._pieces.popleft()
        return total
