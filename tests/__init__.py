"""All tests, in layers: one folder a layer."""
