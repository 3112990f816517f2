"""What happens here, for people and machines: logs and the record of decisions."""
