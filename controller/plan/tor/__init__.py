"""The other side of the sessions: a configuration for the router that nodes peer with, for several makes of router."""
