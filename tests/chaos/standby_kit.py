"""A Postgres of the test's own that others can follow, and an address that leads to one server or another, as a name or a floating
address does."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import psycopg2
import pytest

from stack import wait_for

PROGRAMS = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_level = replica
max_wal_senders = 4
wal_keep_size = 1GB
max_connections = 60
shared_buffers = 64MB
timezone = 'UTC'
"""


def hold_port() -> socket.socket:
    """Bound, and nobody listens: as long as it is open nobody is given this port, and who asks for it by number may listen on it."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


class Server:
    """One server; Postgres refuses to run as root."""

    def __init__(self, place: pathlib.Path, name: str):
        self.data, self.log, self.held, self.process = place / name, place / f"{name}.log", hold_port(), None
        self.place, self.port = place, self.held.getsockname()[1]

    def run(self, program: str, *args: str, **more):
        as_user = ["chpst", "-u", "postgres"] if os.geteuid() == 0 else []
        return subprocess.run([*as_user, PROGRAMS / program, *args], cwd=self.place, check=True, capture_output=True, text=True, **more)

    def make(self) -> "Server":
        self.run("initdb", "-D", str(self.data), "-U", "lens", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(SETTINGS)
        self.start()
        with self.connect("postgres").cursor() as cursor:
            cursor.execute("create database lens")
        return self

    def follow(self, primary: "Server") -> "Server":
        self.run("pg_basebackup", "-D", str(self.data), "-h", "127.0.0.1", "-p", str(primary.port), "-U", "lens", "-R", "-c", "fast",
                 "-X", "stream", "--no-sync")
        self.start()
        return self

    def start(self) -> None:
        as_user = ["chpst", "-u", "postgres"] if os.geteuid() == 0 else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*as_user, PROGRAMS / "postgres", "-D", self.data, "-p", str(self.port)], cwd=self.place,
                                            stdout=log, stderr=log)
        wait_for(f"{self.data.name} answers", lambda: self.ask("select 1") == 1, 60)

    def stop(self, number=signal.SIGINT) -> None:
        """INT: in order, and whoever follows gets all of it first. QUIT: from one moment to the next."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
            self.process = None

    def connect(self, database="lens"):
        connection = psycopg2.connect(host="127.0.0.1", port=self.port, user="lens", dbname=database)
        connection.autocommit = True
        return connection

    def ask(self, sql: str):
        connection = self.connect("postgres" if sql == "select 1" else "lens")
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchone()[0]
        finally:
            connection.close()


class Switch(threading.Thread):
    """The address that lens.conf names."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.target, self.open, self.lock = 0, set(), threading.Lock()
        self.start()

    def lead_to(self, server: Server | None) -> None:
        """Who is connected is cut off, and comes to that server."""
        with self.lock:
            self.target = server.port if server else 0
            for connection in self.open:
                with contextlib.suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)

    def run(self):
        while True:
            try:
                near, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(near,), daemon=True).start()

    def carry(self, near: socket.socket) -> None:
        with near, self.lock:
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                return
            near = near.dup()
            self.open |= {near, far}
        try:
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    (far if ready is near else near).sendall(data)
        except OSError:
            return
        finally:
            with self.lock:
                self.open -= {near, far}
                near.close()
                far.close()

    def end(self) -> None:
        self.lead_to(None)
        self.listening.close()


@pytest.fixture
def place():
    """Where Postgres's own user may write."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="lens-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def servers(place):
    """(primary, a server that can follow it, the address)"""
    primary, standby, switch = Server(place, "primary"), Server(place, "standby"), Switch()
    try:
        primary.make()
        switch.lead_to(primary)
        yield primary, standby, switch
    finally:
        switch.end()
        for server in (standby, primary):
            server.stop(signal.SIGQUIT)
            server.held.close()
