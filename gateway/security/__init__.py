"""Who may speak to the gateway."""
