"""A service of the shop in plain Python, standard library only: what its buyer may be given.

It shows what the mesh asks of a language: listen where BOWLINE_LISTEN says, and call others by their names
below `.mesh`, which the standard client sends through HTTP_PROXY, the sidecar. GET /gifts/{user}.
"""

import http.server
import json
import os
import signal
import socketserver
import threading
import urllib.error
import urllib.request


class Gifts(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/readyz":
            return self.answer(200, {"ready": True})
        if not self.path.startswith("/gifts/"):
            return self.answer(404, {"detail": "nothing here"})
        # The trace goes on where the call says which one it belongs to.
        passed_on = {name: self.headers[name] for name in ("traceparent", "tracestate") if name in self.headers}
        request = urllib.request.Request("http://user.mesh/users/" + self.path[len("/gifts/") :], headers=passed_on)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                user = json.load(answer)
        except urllib.error.HTTPError as refusal:
            return self.answer(refusal.code, {"detail": "user answered", "reason": refusal.headers["x-bowline-reason"]})
        except OSError as error:
            return self.answer(502, {"detail": str(error)})
        self.answer(200, {"for": user["id"], "gift": "a bookmark", "asked_by": self.headers["x-bowline-caller"]})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """A Unix socket's clients have no address to log."""


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = False
    request_queue_size = 128


def main():
    listen = os.environ["BOWLINE_LISTEN"]
    if listen.startswith("unix:"):
        server = UnixServer(listen[len("unix:") :], Gifts)
    else:
        host, port = listen.rsplit(":", 1)
        server = http.server.ThreadingHTTPServer((host, int(port)), Gifts)
    # What is under way is finished; the serving thread cannot wait for itself.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print("gift listens on", listen, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
