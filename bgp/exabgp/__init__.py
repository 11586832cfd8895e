"""The engine: ExaBGP as a library on our event loop. The only place that imports ``exabgp``."""
