"""``towpath topology``: a cluster as a picture, from its objects."""
