"""The web server's front: what clients make wait, waits here and not in a thread of Django's.

Django stays WSGI, with views that run in threads. In front of it one event loop (uvicorn) takes
heads and bodies in and sends answers out, however slowly a client reads or writes:

- `connections.py`: a connection, and how long its client may take for what.
- `requests.py`: what the head of a request says.
- `bodies.py`: a body, received whole, or in pieces, before a thread is taken.
- `bridge.py`: a WSGI application's answer, made in a thread, sent by the loop.
- `lanes.py`: the threads, apart by what they are for, and turns of the same person.
- `application.py`: which of these a request goes through.
- `middleware.py`: what only Django can say to the front: who somebody is, why something is refused.
- `server.py`: all of it as a process.

See docs/decisions/0029-an-evented-front.md.
"""
