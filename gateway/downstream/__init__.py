"""The clients in front of the gateway: one endpoint, every transport, both protocol eras."""
