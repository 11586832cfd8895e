"""What the command line says of objects: plans, policy tests, differences. Thin layers over the core that agents run."""
