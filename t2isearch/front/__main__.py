"""`python -m t2isearch.front`: the web server."""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m t2isearch.front", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", default=8000, type=int, help="the port to listen on")
    arguments = parser.parse_args()

    from t2isearch.embedded.state import Layout, var_dir
    from t2isearch.front.scratch import use_own_directory

    use_own_directory(Layout(var_dir()).temporary)
    # Django, only now that its temporary files have a place.
    from t2isearch.front.application import Front
    from t2isearch.front.server import serve
    from t2isearch.wsgi import application

    serve(Front(application), host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
