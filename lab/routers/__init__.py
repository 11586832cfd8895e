"""Routers of other makers beside BIRD, each as one object that is configured, started, asked and stopped."""
