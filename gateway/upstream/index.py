"""Merged listings: exposed names, owners and clashes. Pure.

A tool or prompt is exposed as its server's prefix and its own name. What two servers expose
alike belongs to the first in configuration order, whether or not it is connected just now, so
that a name never changes its meaning because a server restarts. Resource URIs are never
rewritten, since results embed them: the owner of a URI is the first server that lists it, else
the first that lists a template it matches, else the first that has resources at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from gateway.calls.model import Json
from gateway.upstream.port import Listing

What = Literal["tool", "prompt", "resource", "resource template"]

_ID: Mapping[What, str] = {
    "tool": "name",
    "prompt": "name",
    "resource": "uri",
    "resource template": "uriTemplate",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One server as the index sees it. `up` decides what is shown, never who owns it."""

    name: str
    prefix: str
    listing: Listing
    up: bool = True


@dataclass(frozen=True, slots=True)
class Owned:
    """An entry with its one owner. `name` is the server's own name (or URI) for it."""

    server: str
    name: str
    entry: Json
    up: bool


@dataclass(frozen=True, slots=True)
class Clash:
    """Two servers expose the same; the second is hidden."""

    what: What
    name: str
    owner: str
    hidden: str

    def __str__(self) -> str:
        fix = (
            "only the owner is asked for it"
            if self.what in ("resource", "resource template")
            else f"set another prefix for server '{self.hidden}' to show both"
        )
        return (
            f"{self.what} '{self.name}' of server '{self.hidden}' is hidden: server '{self.owner}' exposes "
            f"the same and comes first in the configuration; {fix}"
        )


@dataclass(frozen=True, slots=True)
class Index:
    """Everything by its exposed name or URI, in the order it is listed."""

    tools: Mapping[str, Owned] = field(default_factory=dict[str, Owned])
    prompts: Mapping[str, Owned] = field(default_factory=dict[str, Owned])
    resources: Mapping[str, Owned] = field(default_factory=dict[str, Owned])
    templates: Mapping[str, Owned] = field(default_factory=dict[str, Owned])
    clashes: tuple[Clash, ...] = ()
    patterns: tuple[tuple[UriTemplate, str], ...] = ()
    resourceful: tuple[str, ...] = ()
    """Servers that have resources, those that are up first."""

    def owner_of_uri(self, uri: str) -> str | None:
        """Return the server that owns a URI, or None if no server has resources."""
        listed = self.resources.get(uri) or self.templates.get(uri)
        if listed is not None:
            return listed.server
        matching = (server for pattern, server in self.patterns if _matches(pattern, uri))
        return next(matching, None) or next(iter(self.resourceful), None)


def build(members: Sequence[Member]) -> Index:
    """Merge what servers list, given in configuration order."""
    clashes: list[Clash] = []
    templates = _merge("resource template", members, clashes)
    resourceful = [m for m in members if m.listing.hello and "resources" in m.listing.hello.capabilities]
    return Index(
        tools=_merge("tool", members, clashes),
        prompts=_merge("prompt", members, clashes),
        resources=_merge("resource", members, clashes),
        templates=templates,
        clashes=tuple(clashes),
        patterns=tuple(
            (pattern, owned.server)
            for raw, owned in templates.items()
            if (pattern := _parse(raw)) is not None
        ),
        resourceful=tuple(m.name for m in sorted(resourceful, key=lambda member: not member.up)),
    )


def _merge(what: What, members: Sequence[Member], clashes: list[Clash]) -> dict[str, Owned]:
    merged: dict[str, Owned] = {}
    member_of = _ID[what]
    for member in members:
        prefix = member.prefix if member_of == "name" else ""
        for entry in _listed(what, member.listing):
            name = entry.get(member_of)
            if not isinstance(name, str):
                continue
            exposed = prefix + name
            taken = merged.get(exposed)
            if taken is None:
                shown = {**entry, member_of: exposed} if prefix else entry
                merged[exposed] = Owned(member.name, name, shown, member.up)
            elif taken.server != member.name:
                clashes.append(Clash(what, exposed, taken.server, member.name))
    return merged


def _listed(what: What, listing: Listing) -> tuple[Json, ...]:
    if what == "tool":
        return listing.tools
    if what == "prompt":
        return listing.prompts
    return listing.resources if what == "resource" else listing.templates


def _parse(template: str) -> UriTemplate | None:
    """Parse a template; one that cannot be matched against owns only itself."""
    try:
        return UriTemplate.parse(template)
    except InvalidUriTemplate:
        return None


def _matches(pattern: UriTemplate, uri: str) -> bool:
    return pattern.match(uri) is not None
