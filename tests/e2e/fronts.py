"""Temporal as it stands elsewhere: the real development server, and before it a front that speaks TLS, wants
certificates, API keys and the namespace's header as Temporal Cloud does, and passes the rest on."""
import asyncio
import concurrent.futures
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading

import grpc

from homes import free_port, until

TEMPORAL = shutil.which("temporal") or os.path.expanduser("~/.cache/stigmer/bin/temporal")
SERVICE = b"temporal.api.workflowservice.v1.WorkflowService"


class RealTemporal:
    """start-dev on an address of ours. prefix: how to get into its network namespace."""

    def __init__(self, ip="127.0.0.1", port=None, prefix=()):
        self.dir = tempfile.mkdtemp(prefix="st-", dir="/tmp")
        self.port = port or free_port()
        self.address = f"{ip}:{self.port}"
        self.process = subprocess.Popen(
            [*prefix, TEMPORAL, "server", "start-dev", "--headless", "--ip", ip, "--port", str(self.port),
             "--http-port", "0", "--metrics-port", "0", "--db-filename", f"{self.dir}/db", "--log-level", "error"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        until(self.serves)

    def serves(self):
        assert self.process.poll() is None, "temporal has ended"
        with grpc.insecure_channel(self.address) as c:
            check = c.unary_unary("/grpc.health.v1.Health/Check")
            try:
                return check(b"\x0a" + bytes([len(SERVICE)]) + SERVICE, timeout=2) == b"\x08\x01"
            except grpc.RpcError:
                return False

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


class Front(grpc.GenericRpcHandler):
    """keys: those it accepts; NULL: it asks for none. deny: what it answers to an accepted one instead."""

    def __init__(self, certs, target, namespace="default", cert="server", client_ca=None, keys=None):
        self.keys, self.namespace, self.deny = keys, namespace, False
        self.calls, self.wrong = 0, []
        self.back = grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", -1)])
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=40))
        self.server.add_generic_rpc_handlers((self,))
        trust = certs.read(client_ca) if client_ca else None
        self.port = self.server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(
            [(certs.read(f"{cert}.key"), certs.read(f"{cert}.pem"))], trust, require_client_auth=bool(trust)))
        self.address = f"127.0.0.1:{self.port}"
        self.server.start()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.pass_on(details, request, context))

    def check(self, metadata, context):
        if metadata.get("temporal-namespace") != self.namespace:
            self.wrong.append(metadata.get("temporal-namespace"))
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the namespace's header is missing")
        given = metadata.get("authorization", "")
        if self.keys is not None and given not in [f"Bearer {k}" for k in self.keys]:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request unauthorized.")
        if self.deny:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Request unauthorized for this namespace.")

    def pass_on(self, details, request, context):
        self.calls += 1
        self.check(dict(details.invocation_metadata), context)
        call = self.back.unary_unary(details.method).future(request, timeout=context.time_remaining())
        context.add_callback(call.cancel)
        try:
            return call.result()
        except grpc.FutureCancelledError:
            context.abort(grpc.StatusCode.CANCELLED, "")
        except grpc.RpcError as e:
            context.set_trailing_metadata(e.trailing_metadata() or ())
            context.abort(e.code(), e.details())

    def close(self):
        self.server.stop(0).wait()
        self.back.close()


class TlsFront:
    """TLS alone, by OpenSSL, which says why it refuses; the bytes inside are passed on as they are."""

    def __init__(self, certs, port, client_ca):
        self.target = port
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certs.path(client_ca))
        self.context.load_cert_chain(certs.path("server.pem"), certs.path("server.key"))
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.set_alpn_protocols(["h2"])
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.server = self.run(asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context))
        self.address = "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]

    def run(self, job):
        return asyncio.run_coroutine_threadsafe(job, self.loop).result(10)

    async def serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self.copy(reader, far_writer), self.copy(far_reader, writer))

    async def copy(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (OSError, ssl.SSLError):
            pass
        writer.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)


def spread(path, text, mode=0o600):
    p = pathlib.Path(path)
    p.write_text(text)
    p.chmod(mode)
    return str(p)
