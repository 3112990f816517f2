"""Where a server's HTTP endpoint is: addresses taken apart, redirects, and the cookies of a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httpx2

from gateway.upstream.http_pool import NotConnected, Origin
from gateway.upstream.response import Response

_KEEPS_METHOD: Final = frozenset({307, 308})


@dataclass(frozen=True, slots=True)
class Place:
    """An address, taken apart: where to connect, and what the first lines of a request say."""

    url: httpx2.URL
    origin: Origin
    host: str
    target: str

    @classmethod
    def of(cls, url: httpx2.URL) -> Place:
        """Take an address apart; raises NotConnected if it cannot be one of HTTP."""
        return cls(url, Origin.of(url), url.netloc.decode("ascii"), url.raw_path.decode("ascii"))


class Cookies:
    """One connection's cookies: what ties it to a replica must not tie others, or mix their sessions."""

    def __init__(self) -> None:
        self._jar: httpx2.Cookies | None = None

    def __bool__(self) -> bool:
        return self._jar is not None

    def take(self, place: Place, values: list[str]) -> None:
        """Keep what a response set; what is not ASCII is no cookie (RFC 6265, 4.1.1)."""
        headers = [("set-cookie", value) for value in values if value.isascii()]
        if not headers:
            return
        self._jar = self._jar or httpx2.Cookies()
        self._jar.extract_cookies(
            httpx2.Response(200, headers=headers, request=httpx2.Request("GET", place.url))
        )

    def header(self, place: Place) -> str | None:
        """Return the `Cookie` header of a request, if it has one."""
        if self._jar is None:
            return None
        request = httpx2.Request("GET", place.url)
        self._jar.set_cookie_header(request)
        return request.headers.get("cookie")


def without_secrets(url: str) -> str:
    """Return an address without user, password, query and fragment."""
    scheme, separator, rest = url.partition("#")[0].partition("?")[0].rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def following(place: Place, response: Response) -> Place | None:
    """Return where a redirect leads, if it keeps the method and the origin.

    Going from http to https on their default ports keeps it too.
    """
    location = response.headers.get("location")
    keeps = response.status in _KEEPS_METHOD or (
        response.method == "GET" and response.status in (301, 302, 303)
    )
    if location is None or not keeps:
        return None
    try:
        there = Place.of(place.url.join(location))
    except (httpx2.InvalidURL, NotConnected):
        return None  # it leads nowhere that HTTP could
    if there.url.userinfo and there.url.userinfo != place.url.userinfo:
        return None
    here = place.origin
    upgrade = (here.scheme, here.port, there.origin) == ("http", 80, Origin("https", here.host, 443))
    return there if there.origin == here or upgrade else None
