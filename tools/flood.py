#!/usr/bin/env python3
"""Does whoever has the token get in while a thousand strangers hold on? flood.py KOUBO [SECONDS]

Starts a server of its own, opens 1,000 connections from 1,000 addresses of loopback, and has them send first bodies without a token,
then headers by drops, dialling again where they are cut off. Beside that it asks with the token. Prints what was answered, how long it took at
most, and the server's memory. docs/reliability.md tells what came of it."""
import collections
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

N = 1000
TOKEN = "a-token-of-the-flood"
ASK = (f"GET /api/v1/system HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
       "Connection: close\r\n\r\n").encode()
POST = (b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"F4240\r\n")


def dial(port, k):
    s = socket.socket()
    s.bind((f"127.0.{1 + k // 200}.{1 + k % 200}", 0))
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", port))
    return s


class Server:
    def __init__(self, program, folder):
        lock = Path(folder) / "data" / "lock"
        self.process = subprocess.Popen(
            [program, "serve", "--port", "0", "--workers", "1", "--min-free", "0", "--token", TOKEN, "--data",
             str(lock.parent)], stderr=subprocess.DEVNULL)
        self.port = 0
        for _ in range(600):
            time.sleep(0.1)
            found = re.search(r"http://[\w.]+:(\d+)", lock.read_text()) if lock.exists() else None
            if found:
                self.port = int(found[1])
                break
        self.answers, self.slowest = collections.Counter(), 0

    def ask(self):
        start = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as s:
                s.sendall(ASK)
                self.answers[s.recv(100)[9:12].decode() or "nothing"] += 1
        except OSError as e:
            self.answers[type(e).__name__] += 1
        self.slowest = max(self.slowest, time.monotonic() - start)

    def report(self, what):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        memory = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024
        print(f"{what}: {memory} MB, answers {dict(self.answers)}, {1000 * self.slowest:.0f} ms at most")
        self.answers, self.slowest = collections.Counter(), 0


def bodies(server):
    strangers = [dial(server.port, k) for k in range(N)]
    time.sleep(0.3)
    for data in [POST] + [b"x" * 62500] * 16:
        for s in strangers:
            try:
                s.send(data)
            except OSError:
                pass
        server.ask()
    server.report("1 MB without the token from each of them")
    for s in strangers:
        s.close()


def headers(server, seconds):
    strangers = [dial(server.port, k) for k in range(N)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for k, s in enumerate(strangers):
            try:
                s.send(b"G")
            except OSError:
                s.close()
                strangers[k] = dial(server.port, k)
        for _ in range(3):
            server.ask()
        time.sleep(0.2)
    server.report(f"headers by drops for {seconds} s")


def main():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with tempfile.TemporaryDirectory() as folder:
        server = Server(sys.argv[1], folder)
        try:
            time.sleep(2)
            server.ask()
            server.report("at rest")
            bodies(server)
            headers(server, float(sys.argv[2]) if len(sys.argv) > 2 else 45.0)
        finally:
            server.process.terminate()
            server.process.wait()


main()
