"""An OpenAI-compatible endpoint that follows a script. Which turn comes next is read from the
request (how many assistant messages it has), so a run that is resumed gets what it needs."""
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def call(call_id, name, **arguments):
    return {"id": call_id, "name": name, "arguments": json.dumps(arguments)}


class ScriptedModel:
    """turns: a list of (text, [call…]); the last one is said for every later request. Or a function
    that gives such a list for a run's message: then turns are counted from there, whatever the
    session's earlier runs were.
    delay: seconds before the first byte. Every request body is kept in .requests."""

    def __init__(self, turns, delay=0.0):
        self.turns, self.delay, self.requests = turns, delay, []
        self.waiting = 0
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                model.requests.append(body)
                turns, messages = model.turns, body["messages"]
                if callable(turns):
                    last = max(i for i, m in enumerate(messages) if m["role"] == "user")
                    turns, messages = turns(messages[last]["content"]), messages[last:]
                turn = sum(m["role"] == "assistant" for m in messages)
                text, calls = turns[min(turn, len(turns) - 1)]
                model.waiting += 1
                time.sleep(model.delay)
                model.waiting -= 1
                deltas = [{"role": "assistant", "content": text}]
                for i, c in enumerate(calls):
                    deltas.append({"tool_calls": [{
                        "index": i, "id": f"{c['id']}_{turn}", "type": "function",
                        "function": {"name": c["name"], "arguments": c["arguments"]}}]})
                out = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
                out.append({"choices": [{"index": 0, "delta": {},
                                         "finish_reason": "tool_calls" if calls else "stop"}]})
                out.append({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}})
                data = "".join(f"data: {json.dumps({'id': 'x', 'model': 'scripted', **o})}\n\n" for o in out)
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
            request_queue_size = 512

            def handle_error(self, request, client_address):
                if not isinstance(sys.exc_info()[1], ConnectionError):  # a runner that was killed
                    super().handle_error(request, client_address)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        threading.stack_size(256 << 10)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
