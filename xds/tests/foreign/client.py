"""A gRPC client that finds its backends by xDS, and the backends themselves, a and b, at the two ports that are its arguments.

For each line on standard input it makes one call and prints which backend has answered. GRPC_XDS_BOOTSTRAP names the file that
says where the control plane is.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

METHOD = "/test.Names/Name"


def backend(name, port):
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: name)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Names", {"Name": handler})])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server


def main():
    backends = [backend(name, port) for name, port in zip((b"a", b"b"), sys.argv[1:], strict=True)]
    with grpc.insecure_channel("xds:///names.test") as channel:
        call = channel.unary_unary(METHOD)
        for _ in sys.stdin:
            print(call(b"", timeout=20, wait_for_ready=True).decode(), flush=True)
    for server in backends:
        server.stop(None)


main()
