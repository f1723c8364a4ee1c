"""An OpenAI-compatible endpoint that has the user's message run as a command and answers with what
the command printed: a run whose task is a shell command, and whose answer is what the model was told."""
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class CommandModel:
    def __init__(self, host="127.0.0.1"):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                last = body["messages"][-1]
                if last["role"] == "tool":
                    delta = {"role": "assistant", "content": last["content"]}
                else:
                    # a notice of a replaced runner may follow the task; the task is the first word of the user
                    task = next(m["content"] for m in body["messages"] if m["role"] == "user")
                    delta = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {
                        "name": "execute", "arguments": json.dumps({"command": task})}}]}
                out = [{"index": 0, "delta": delta, "finish_reason": None},
                       {"index": 0, "delta": {}, "finish_reason": "stop" if "content" in delta else "tool_calls"}]
                data = "".join(f"data: {json.dumps({'id': 'x', 'model': 'm', 'choices': [o]})}\n\n" for o in out)
                data = (data + "data: [DONE]\n\n").encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the runner was killed meanwhile

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self.server = Server((host, 0), Handler)
        self.port = self.server.server_port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
