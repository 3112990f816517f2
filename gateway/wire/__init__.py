"""JSON-RPC over byte streams: messages, correlation and Server-Sent Events, both directions."""
