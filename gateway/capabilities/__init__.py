"""Capability files: what an operator says about single tools."""
