"""Backchannel: the MCP gateway that routes what servers ask back."""

__version__ = "0.1.0"
