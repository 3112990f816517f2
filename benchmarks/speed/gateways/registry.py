"""Every gateway that is measured, in the order of the table."""

from __future__ import annotations

from benchmarks.speed.gateways.backchannel import Backchannel
from benchmarks.speed.gateways.bare import Bare
from benchmarks.speed.gateways.contextforge import ContextForge
from benchmarks.speed.gateways.direct import Direct
from benchmarks.speed.gateways.fastmcp import FastMcp
from benchmarks.speed.gateways.foxxy_bridge import FoxxyBridge
from benchmarks.speed.gateways.mcp_hub import McpHub
from benchmarks.speed.gateways.mcp_proxy_npm import McpProxyNpm
from benchmarks.speed.gateways.mcp_proxy_pypi import McpProxyPypi
from benchmarks.speed.gateways.nginx import Nginx
from benchmarks.speed.gateways.port import Gateway
from benchmarks.speed.gateways.streamablehttp_proxy import StreamableHttpProxy
from benchmarks.speed.gateways.supergateway import Supergateway

DIRECT = Direct()
BARE = Bare()
BACKCHANNEL = Backchannel()

GATEWAYS: tuple[Gateway, ...] = (
    DIRECT,
    Nginx(),
    BARE,
    BACKCHANNEL,
    FastMcp(),
    ContextForge(),
    FoxxyBridge(),
    McpProxyPypi(),
    McpProxyNpm(),
    StreamableHttpProxy(),
    Supergateway(),
    McpHub(),
)
