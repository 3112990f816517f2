"""An hour's worth of mixed traffic in minutes: every error is accounted for, and memory stays flat."""
