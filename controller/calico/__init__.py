"""Calico's manifests as ours: ``towpath import calico``."""
