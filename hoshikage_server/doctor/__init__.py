"""Looking at what Hoshikage needs on this machine, and saying what to do where something is wrong."""
