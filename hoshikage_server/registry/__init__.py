"""The models people have registered."""
