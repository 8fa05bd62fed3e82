"""The listeners of a server, and the connections to them. Linux only."""
