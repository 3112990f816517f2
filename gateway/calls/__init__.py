"""A client's call on its way through the gateway, whatever era its ends speak."""
