"""A pool of one's own: which images to label, what to expect of it, and the classifier that comes of it."""
