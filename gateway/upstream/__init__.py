"""The servers behind the gateway: connections, lanes, supervision, merged listings."""
