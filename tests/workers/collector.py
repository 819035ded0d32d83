"""A collector of spans, which only looks whether something is in them."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector:
    """Takes OTLP over HTTP, as protobuf or as JSON."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.came = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.body()
                with collector.came:
                    collector.bodies.append(body)
                    collector.came.notify_all()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def body(self) -> bytes:
                """Whole, or in chunks where its length is not told."""
                if length := self.headers["Content-Length"]:
                    return self.rfile.read(int(length))
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                return b"".join(chunks)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def until_below(self, trace_id: str, parent_id: str, seconds: float) -> bool:
        """Waits for a span of this trace whose parent is this one. Protobuf has the bytes of ids
        as they are, JSON has them in hex."""
        def is_there() -> bool:
            return any(
                all(bytes.fromhex(each) in body or each.encode() in body.lower() for each in (trace_id, parent_id))
                for body in self.bodies
            )

        with self.came:
            return self.came.wait_for(is_there, seconds)
