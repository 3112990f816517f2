"""Configuration: YAML as written (raw), checked and merged (loader), as used (resolved)."""
