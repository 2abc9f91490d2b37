"""`python -m t2isearch.front`: the web server."""

from __future__ import annotations

import argparse
import logging
import os
import shutil


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m t2isearch.front", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="the port to listen on")
    arguments = parser.parse_args()

    from t2isearch.embedded.state import Layout, read_dotenv, var_dir
    from t2isearch.front.scratch import use_own_directory

    read_dotenv()
    temporary = use_own_directory(Layout(var_dir()).temporary)
    # Django, only now that its temporary files have a place.
    from gallery.decoding.pool import pool
    from t2isearch.front.application import Front
    from t2isearch.front.server import serve
    from t2isearch.wsgi import application

    serve(Front(application), host=arguments.host, port=arguments.port)
    # What Python does at its end takes seconds, with an encoder in memory, and threads may hang.
    pool().end()
    shutil.rmtree(temporary, ignore_errors=True)
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
