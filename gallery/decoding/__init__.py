"""Decoding of bytes that nobody vouches for, in child processes bounded in time and memory.

The rest of the gallery calls `service.py`. What the child imports (`child.py`, `protocol.py`,
`answers.py`, `problems.py`, and the pure modules beside this package) knows nothing of Django.
See docs/decisions/0028-pictures-are-decoded-in-child-processes.md.
"""
