"""What is measured: one file a gateway, all of them listed in `registry`."""
