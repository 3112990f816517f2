"""API keys: which principal a request comes from."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from gateway.config.resolved import ApiKey
from gateway.errors import BackchannelError


class Unauthenticated(BackchannelError):
    """The request carries no key, or one that is not configured. HTTP 401."""


class ApiKeys:
    """Tells whose key a request carries. Only SHA-256 hashes are held and compared."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple((key.sha256.lower().encode(), key.principal) for key in keys)

    @property
    def required(self) -> bool:
        """Whether requests need a key at all."""
        return bool(self._keys)

    def principal(self, headers: Mapping[str, str]) -> str | None:
        """Return the principal of ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

        None when no keys are configured. `headers` has lower-case names.

        Raises:
            Unauthenticated: a key is needed and the request has no valid one.
        """
        if not self._keys:
            return None
        presented = _presented(headers)
        if presented is None:
            raise Unauthenticated(
                "this gateway needs an API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"
            )
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).hexdigest().encode()
        found: str | None = None
        # Every key is compared, in constant time, so that timing tells nothing of the position.
        for sha256, principal in self._keys:
            if hmac.compare_digest(sha256, digest):
                found = principal
        if found is None:
            raise Unauthenticated("this API key is not among the configured ones (auth.keys)")
        return found


def _presented(headers: Mapping[str, str]) -> str | None:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return headers.get("x-api-key") or None
