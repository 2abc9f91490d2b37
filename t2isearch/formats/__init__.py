"""Where Django's own formats of a language don't suit, by locale."""
