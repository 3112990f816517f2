"""How fast the gateway is, beside other gateways, in one run on one machine."""
