"""Measurements of the gateway, each a module that is run with `python -m`."""
