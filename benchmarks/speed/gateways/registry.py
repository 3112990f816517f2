"""Every gateway that is measured, in the order of the table."""

from __future__ import annotations

from benchmarks.speed.gateways.backchannel import Backchannel
from benchmarks.speed.gateways.bare import Bare
from benchmarks.speed.gateways.direct import Direct
from benchmarks.speed.gateways.nginx import Nginx
from benchmarks.speed.gateways.port import Gateway

DIRECT = Direct()
BARE = Bare()
BACKCHANNEL = Backchannel()

GATEWAYS: tuple[Gateway, ...] = (DIRECT, Nginx(), BARE, BACKCHANNEL)
