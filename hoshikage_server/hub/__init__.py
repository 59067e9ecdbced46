"""Models on a hub: which of its files make the one that is wanted, and fetching them."""
