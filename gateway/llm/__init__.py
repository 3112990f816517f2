"""The gateway's own LLM: providers behind one port."""
