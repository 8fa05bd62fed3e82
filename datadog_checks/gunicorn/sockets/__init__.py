"""Linux: the listeners of a server, and the connections to them."""
