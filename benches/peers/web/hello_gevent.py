"""hello world by gevent.pywsgi, without a log, and with TCP_NODELAY: its answers are two writes."""

import socket
import sys

from gevent.pywsgi import WSGIServer


class Server(WSGIServer):
    def do_handle(self, connection, *rest):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().do_handle(connection, *rest)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [b"Hello, world!"]


host, port = sys.argv[1].split(":")
Server((host, int(port)), hello, log=None, error_log=None, backlog=1024).serve_forever()
