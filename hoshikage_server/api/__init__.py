"""The HTTP resources, one a file, and what they share."""
