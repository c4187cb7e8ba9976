"""How an orbit comes about and what it leaves; apart from the mode, because it computes with what imports slowly."""
