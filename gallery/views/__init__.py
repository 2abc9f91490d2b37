"""The gallery's pages. Every one of them starts from the signed-in person's own photos."""
