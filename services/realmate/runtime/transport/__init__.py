"""Commands from the webhook service to the conversations service, over the broker that one URL names."""

from __future__ import annotations

from realmate.runtime.transport.extensions import CommandCaller, commands
from realmate.runtime.transport.interface import Caller, Delivery, TransportUnavailable

__all__ = ["Caller", "CommandCaller", "Delivery", "TransportUnavailable", "commands"]
