"""What goes beyond the protocol: extensions and experimental capabilities that both sides name.

An extension passes where the configuration lets it: one that the client and the server both
name, or that the client names and the configuration allows by its identifier. What a client
says of it (its settings) becomes part of what is declared to the server, and so of the keys by
which connections and listings are kept. Those keys must stay few: only identifiers that a
server or the configuration names count, and of each only the first `VARIANTS` settings that
clients came with. Later ones count as an extension without settings, which is never more than
the client said.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, cast

from gateway.calls.model import Extra, Json, Profile
from gateway.config.resolved import ServerConfig

logger = logging.getLogger(__name__)

VARIANTS: Final = 8
"""Different settings of one extension that are told apart."""
_MOST: Final = 64
"""Extensions of one server that are looked at."""

Field = Literal["extensions", "experimental"]
_FIELDS: Final[tuple[Field, ...]] = ("extensions", "experimental")
_Named = tuple[Field, str]


class Extensions:
    """Which extensions each server names, and what of a client's is declared to it."""

    def __init__(self, servers: Mapping[str, ServerConfig]) -> None:
        self._rules = {name: server.extensions for name, server in servers.items()}
        self._named: dict[str, frozenset[_Named]] = {}
        self._variants: dict[_Named, dict[str, Extra]] = {}
        self._full: set[_Named] = set()
        self.learnt = 0
        """How often servers have named something: what was worked out before may be out of date."""

    def learn(self, server: str, capabilities: Json) -> None:
        """Take what a server named of itself when it was connected."""
        self.learnt += 1
        self._named[server] = frozenset(
            (field, name) for field in _FIELDS for name in _object(capabilities.get(field))
        )

    def declared(self, server: str, profile: Profile) -> frozenset[Extra]:
        """Return what of a client's profile is declared to a server."""
        return frozenset(self._admitted(one) for one in _extras(profile) if self._passes(server, one))

    def known(self, profile: Profile) -> Profile:
        """Return a client's profile without what no server is declared."""
        extras = _extras(profile) if profile else ()
        if not extras:
            return profile
        passing = (one for one in extras if any(self._passes(server, one) for server in self._rules))
        return profile.difference(extras).union(self._admitted(one) for one in passing)

    def merged(self, servers: Iterable[tuple[str, Json]]) -> Json:
        """Return what is told to clients of these servers' extensions, given with their capabilities.

        Where two servers come with different settings for one extension, the first's are told.
        """
        merged: Json = {}
        for server, capabilities in servers:
            for field in _FIELDS:
                for name, settings in _object(capabilities.get(field)).items():
                    if self._rules[server].allows(name):
                        merged.setdefault(field, {}).setdefault(name, settings)
        return merged

    def _passes(self, server: str, extra: Extra) -> bool:
        rules = self._rules[server]
        if not rules.allows(extra.name):
            return False
        named = (extra.field, extra.name) in self._named.get(server, ())
        return named or (extra.field == "extensions" and rules.declares(extra.name))

    def _admitted(self, extra: Extra) -> Extra:
        variants = self._variants.setdefault((extra.field, extra.name), {})
        known = variants.get(extra.settings)
        if known is not None:
            return known
        if len(variants) < VARIANTS:
            variants[extra.settings] = extra
            return extra
        if (extra.field, extra.name) not in self._full:
            self._full.add((extra.field, extra.name))
            logger.warning(
                "clients come with more than %d different settings for %s '%s'; servers are told of no "
                "further ones",
                VARIANTS,
                extra.field,
                extra.name,
            )
        return Extra(extra.field, extra.name)


def _extras(profile: Profile) -> list[Extra]:
    return [one for one in profile if isinstance(one, Extra)]


def _object(value: Any) -> Json:
    """Return the settings by name, those that are objects and not too many."""
    if not isinstance(value, dict):
        return {}
    entries = itertools.islice(cast("Json", value).items(), _MOST)
    return {name: settings for name, settings in entries if isinstance(settings, dict)}
