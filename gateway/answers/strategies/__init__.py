"""Which answerers are tried and in which order: one file a strategy."""
