"""What several test directories share: peers, namespaces, running servers, calls.

Nothing here knows what a right answer is; that stays in the tests.
"""

from __future__ import annotations

from tests.support.calls import Answer, call, listening, refusing_port, reset_at_close
from tests.support.netns import Namespace, namespaces_refused, stage_refused, unshare_refused
from tests.support.peers import Peer, PeerTable, peers
from tests.support.programs import PATIENCE, Program, Server, default_signals, start_tcpserver, tool

__all__ = [
    "PATIENCE",
    "Answer",
    "Namespace",
    "Peer",
    "PeerTable",
    "Program",
    "Server",
    "call",
    "default_signals",
    "listening",
    "namespaces_refused",
    "peers",
    "refusing_port",
    "reset_at_close",
    "stage_refused",
    "start_tcpserver",
    "tool",
    "unshare_refused",
]
