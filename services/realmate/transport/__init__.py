"""Commands from the webhook service to the conversations service, over the broker that one URL names."""

from __future__ import annotations

from realmate.transport.entrypoints import CommandCaller, commands
from realmate.transport.interface import Caller, Delivery, TransportUnavailable

__all__ = ["Caller", "CommandCaller", "Delivery", "TransportUnavailable", "commands"]
