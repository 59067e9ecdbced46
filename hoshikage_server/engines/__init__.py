"""The engine process: its frames, its program, its owner, and the lane in front of it."""
