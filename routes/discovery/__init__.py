"""Finding the router at the other end of an interface that has no addresses but its link-local one, and being found by it."""
