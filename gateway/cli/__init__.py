"""The command line: `backchannel serve`, `check`, `explain`, `doctor`, `demo`."""
