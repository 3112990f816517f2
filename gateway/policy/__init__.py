"""Who answers a server's input request: pure, synchronous, explained."""
