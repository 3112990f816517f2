"""Answering what servers ask: the broker, the strategies and the answerers."""
