"""The container image, made without any container engine: Debian packages, wheels and plugins in, an OCI archive out."""
