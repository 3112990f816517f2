"""What remembers the era it is of, so that the far side can translate it."""

from __future__ import annotations

from gateway.wire.jsonrpc import Json


class ModernResult(Json):
    """A raw result in the form of 2026-07-28; otherwise an ordinary dict.

    `resultType`, `ttlMs` and `cacheScope` are the protocol's own in such a result. In one of a
    handshake-era server they are fields like any other, and the server's business.
    """
