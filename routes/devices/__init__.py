"""Tunnel devices: what a node should have of them, and the kernel brought there."""
