"""How much better than each of two parties `hybrid` answers, and how far its confidence is to be believed."""
