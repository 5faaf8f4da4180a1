"""A stack with passwords, TLS and rights (`lens up --secure`): the whole line runs on it, each process may do its own work and no
more, and no secret is seen where others look."""

import os
import pathlib
import signal
import socket
import ssl
import stat
import struct
import subprocess
import threading
import time

import psycopg2
import pytest
import redis as redis_client
from confluent_kafka import Consumer, KafkaException, Producer

import conftest
import figures
from stack import BIN, PROCESSES, SERVICES, Stack, wait_for


class Watch(threading.Thread):
    """Every command line that any process of the machine had while it looked, and the environments of the home's own."""

    def __init__(self, home: pathlib.Path):
        super().__init__(daemon=True)
        self.mark = f"LENS_HOME={home}".encode()
        self.seen, self.ending = set(), threading.Event()

    def run(self):
        while not self.ending.is_set():
            for entry in os.scandir("/proc"):
                if not entry.name.isdigit():
                    continue
                try:
                    with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                        self.seen.add(file.read())
                    with open(f"/proc/{entry.name}/environ", "rb") as file:
                        environment = file.read()
                    if self.mark in environment.split(b"\0"):
                        self.seen.add(environment)
                except OSError:
                    continue
            self.ending.wait(0.02)


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    stack = Stack(conftest._new_home())
    watch = Watch(stack.home)
    watch.start()
    try:
        stack.up("--secure")
        out = tmp_path_factory.mktemp("sales")
        stack.lens("generate", "--out", out, "--seed", "19", "--sales", "3000", "--customers", "300", "--defects", "3")
        stack.lens("import", "header_lines", out)
        stack.lens("wait", "--timeout", "240")
        stack.watch, stack.truth = watch, figures.Truth(out)
        yield stack
    finally:
        watch.ending.set()
        conftest._finish(stack)


def secret(stack, name: str) -> str:
    return (stack.home / "secrets" / name).read_text().strip()


def postgres_as(stack, who: str, **changed):
    env = stack.env()
    facts = {"host": "127.0.0.1", "port": env["PGPORT"], "dbname": "lens", "user": f"lens_{who}", "sslmode": "verify-full",
             "password": secret(stack, f"{who}.postgres"), "sslrootcert": str(stack.home / "secrets" / "ca.pem")}
    connection = psycopg2.connect(**{**facts, **changed})
    connection.autocommit = True
    return connection


def kafka_as(stack, who: str, **changed) -> dict:
    return {"bootstrap.servers": stack.env()["KAFKA_BOOTSTRAP"], "security.protocol": "sasl_ssl", "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": f"lens-{who}", "sasl.password": secret(stack, f"{who}.kafka"),
            "ssl.ca.location": str(stack.home / "secrets" / "ca.pem"), **changed}


def redis_as(stack, who: str, **changed):
    facts = {"username": f"lens-{who}", "password": secret(stack, f"{who}.redis")}
    return redis_client.Redis(host="127.0.0.1", port=int(stack.env()["REDIS_PORT"]), decode_responses=True, **{**facts, **changed})


def test_the_whole_line_runs(secure):
    report, truth = secure.lens("report"), secure.truth
    expected = truth.report()
    assert {name: report[name] for name in expected} == expected
    with postgres_as(secure, "admin").cursor() as cursor:
        cursor.execute("select customer_id, points_balance from loyalty.accounts")
        balances = dict(cursor.fetchall())
        cursor.execute("select usename, count(*), bool_and(ssl) from pg_stat_activity join pg_stat_ssl using (pid)"
                       " where backend_type = 'client backend' and usename is not null group by 1")
        sessions = {user: encrypted for user, _, encrypted in cursor.fetchall()}
    assert {"lens_accrue", "lens_relay", "lens_segment"} <= set(sessions), "every process has its own role"
    assert all(sessions.values()), "and none is without TLS"
    assert balances == {customer: int(row["points_balance"]) for customer, row in truth.customers.items()}
    redis, found = redis_as(secure, "admin"), {}
    for key in redis.scan_iter("ll:{r1.p*}:balance"):
        found.update({customer: int(points) for customer, points in redis.hgetall(key).items()})
    assert {customer: found[customer] for customer in balances} == balances
    verify = secure.lens("verify", check=False)
    assert verify["ok"], [check for check in verify["checks"] if check["different"]]


def kafka_refuses(settings: dict, name: str, words: str) -> None:
    """Nothing is told of the topics, and for this reason: a broker that is away tells nothing either."""
    told = []
    producer = Producer({**settings, "error_cb": lambda error: told.append((error.name(), error.str()))})
    with pytest.raises(KafkaException):
        producer.list_topics(timeout=4)

    def ask():
        producer.poll(0.1)
        assert any(known == name and words in text for known, text in told), told
        return True

    wait_for(f"{name}: {words}", ask, 30)


def test_nobody_else_gets_in(secure):
    with pytest.raises(psycopg2.OperationalError, match="no pg_hba.conf entry|no encryption|SSL"):
        postgres_as(secure, "accrue", sslmode="disable")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        postgres_as(secure, "accrue", password="guess")
    with pytest.raises(psycopg2.OperationalError, match="certificate verify failed"):
        postgres_as(secure, "accrue", sslrootcert="/etc/ssl/certs/ca-certificates.crt"
                    if os.path.exists("/etc/ssl/certs/ca-certificates.crt") else "/nowhere")
    for wrong in ({"password": "guess"}, {"username": "default", "password": "guess"}, {"username": None, "password": None}):
        with pytest.raises(redis_client.exceptions.RedisError):
            redis_as(secure, "accrue", **wrong).ping()
    for wrong, *refused in (({"sasl.password": "guess"}, "_AUTHENTICATION", "invalid credentials"),
                            ({"sasl.username": "lens-nobody"}, "_AUTHENTICATION", "invalid credentials"),
                            ({"security.protocol": "plaintext"}, "_TRANSPORT", "Disconnected while requesting ApiVersion"),
                            ({"ssl.ca.location": "/etc/ssl/certs"}, "_SSL", "certificate verify failed")):
        kafka_refuses(kafka_as(secure, "accrue", **wrong), *refused)
    assert Producer(kafka_as(secure, "accrue")).list_topics(timeout=20).topics, "who is known gets in"


def test_the_controller_takes_no_stranger(secure):
    """Whoever reached it could give himself any right: it asks for the broker's own certificate."""
    context = ssl.create_default_context(cafile=str(secure.home / "secrets" / "ca.pem"))
    context.check_hostname = False
    port = int(secure.env()["KAFKA_BOOTSTRAP"].rsplit(":", 1)[1]) + 1
    with socket.create_connection(("127.0.0.1", port), 20) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        with context.wrap_socket(plain) as channel:
            channel.send(struct.pack(">ihhih", 10, 18, 0, 1, -1))  # ApiVersions
            if not channel.recv(4):
                raise ConnectionResetError("closed")


# Who tries, what, and whether it may.
STATEMENTS = [
    ("accrue", "insert into segments.owner select * from segments.owner", False),
    ("accrue", "update segments.customer_standing set customer_id = customer_id", False),
    ("accrue", "delete from mail.letters", False),
    ("accrue", "update loyalty.postings set points = 0", False),
    ("accrue", "delete from loyalty.postings", False),
    ("accrue", "insert into loyalty.rules select * from loyalty.rules", False),
    ("accrue", "create table loyalty.mine ()", False),
    ("accrue", "update loyalty.accounts set points_balance = points_balance where false", True),
    ("accrue", "select count(*) from loyalty.postings", True),
    ("relay", "update loyalty.partitions set epoch = epoch + 1", False),
    ("relay", "update loyalty.partitions set relayed_upto = relayed_upto where false", True),
    ("relay", "update loyalty.accounts set points_balance = 0", False),
    ("segment", "update loyalty.accounts set points_balance = 0", False),
    ("segment", "select count(*) from loyalty.postings", False),
    ("segment", "update segments.customer_standing set customer_id = customer_id where false", True),
    ("notify", "update segments.customer_standing set customer_id = customer_id", False),
    ("notify", "select count(*) from loyalty.accounts", False),
    ("notify", "select count(*) from mail.letters", True),
    ("import", "select count(*) from loyalty.accounts", False),
    ("validate", "select count(*) from loyalty.accounts", False),
]


@pytest.mark.parametrize("who, statement, may", STATEMENTS)
def test_a_role_does_its_own_work_alone(secure, who, statement, may):
    with postgres_as(secure, who).cursor() as cursor:
        if may:
            cursor.execute(statement)
            return
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(statement)


WRITES = [("accrue", "transactions.valid", False), ("accrue", "ledger", False), ("accrue", "segment-changes", False),
          ("accrue", "dead-letter", False), ("relay", "transactions.valid", False), ("segment", "ledger", False),
          ("notify", "segment-changes", False), ("validate", "ledger", False), ("import", "transactions.valid", False),
          ("import", "imports", True), ("validate", "transactions.retry", None)]


@pytest.mark.parametrize("who, topic, may", WRITES)
def test_a_process_writes_its_own_topics_alone(secure, who, topic, may):
    """None: asked for without writing, since a record there would be work for somebody."""
    producer, told = Producer(kafka_as(secure, who)), []
    if may is None:
        assert producer.list_topics(topic, 20).topics[topic].error is None
        return
    producer.produce(topic, b"{}", b"test", on_delivery=lambda error, _: told.append(error))
    producer.flush(30)
    names = [error.name() if error is not None else "taken" for error in told]
    assert names == ["taken" if may else "TOPIC_AUTHORIZATION_FAILED"]


def test_a_process_reads_its_own_topics_and_groups_alone(secure):
    for who, topic, group, refused in [("accrue", "customers", "lens-accrue-test", "TOPIC_AUTHORIZATION_FAILED"),
                                       ("accrue", "transactions.valid", "lens-relay", "GROUP_AUTHORIZATION_FAILED"),
                                       ("notify", "transactions", "lens-notify-test", "TOPIC_AUTHORIZATION_FAILED")]:
        consumer = Consumer(kafka_as(secure, who, **{"group.id": group, "auto.offset.reset": "earliest"}))
        consumer.subscribe([topic])
        errors, until = set(), time.monotonic() + 30
        while refused not in errors and time.monotonic() < until:
            message = consumer.poll(1)
            assert message is None or message.error() is not None, f"{who} reads {topic} as {group}"
            if message is not None:
                errors.add(message.error().name())
        consumer.close()
        assert refused in errors, (who, topic, group, errors)


def test_a_process_cannot_take_over_anothers_transactions(secure):
    pid = secure.ready()["services"]["validate"]["pid"]
    producer = Producer(kafka_as(secure, "relay", **{"transactional.id": "lens-validate-1"}))
    with pytest.raises(KafkaException) as refused:
        producer.init_transactions(30)
    assert refused.value.args[0].name() == "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
    assert secure.ready()["services"]["validate"]["pid"] == pid


def test_redis_users_do_their_own_work_alone(secure):
    accrue = redis_as(secure, "accrue")
    assert accrue.ping() and accrue.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    for attempt in (accrue.flushall, lambda: accrue.set("other:key", "1"), lambda: accrue.config_set("save", ""), accrue.keys,
                    lambda: accrue.acl_list(), accrue.shutdown):
        with pytest.raises(redis_client.exceptions.NoPermissionError):
            attempt()
    with pytest.raises(redis_client.exceptions.RedisError):
        redis_as(secure, "validate").ping()


def secrets_of(stack) -> dict:
    """Every password, and a line from the middle of each key: name -> bytes."""
    found = {}
    for path in (stack.home / "secrets").iterdir():
        if path.suffix in (".kafka", ".redis", ".postgres"):
            found[path.name] = path.read_bytes().strip()
        elif path.suffix == ".key" or path.name == "broker-store.pem":
            found[path.name] = path.read_bytes().splitlines()[5]
    return found


def test_no_secret_is_seen(secure):
    secrets = secrets_of(secure)
    assert len(secrets) >= 25 and all(len(value) >= 40 for value in secrets.values())
    assert len(set(secrets.values())) == len(secrets), "two have the same"
    assert stat.S_IMODE((secure.home / "secrets").stat().st_mode) == 0o700
    holders = []
    for path in secure.home.rglob("*"):
        if not path.is_file():
            continue
        try:
            contents = path.read_bytes()
        except FileNotFoundError:  # Kafka's *-checkpoint.tmp come and go
            continue
        shown = [name for name, value in secrets.items() if value in contents]
        if shown:
            holders.append(str(path.relative_to(secure.home)))
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, (path, shown)
            assert "log" not in path.relative_to(secure.home).parts[:1], (path, shown)
    # The supervisor's environments and all that ran since before `up`: nothing; and it did look.
    assert len(secure.watch.seen) > 20
    assert any(b"kafka.Kafka" in line for line in secure.watch.seen) and any(b"StorageTool" in line or b"format.args" in line
                                                                              for line in secure.watch.seen)
    for line in secure.watch.seen:
        assert not [name for name, value in secrets.items() if value in line], line[:200]
    assert {"kafka/secure.properties", "kafka/whole.properties"} <= {holder for holder in holders if holder.startswith("kafka/")}
    for words in (secure.run("config"), secure.run("env", "--export"), secure.run("status"), secure.run("doctor")):
        assert not [name for name, value in secrets.items() if value.decode() in words.stdout + words.stderr]


def shell(stack, command: str) -> subprocess.CompletedProcess:
    """As somebody types it, with nothing but what `lens env` gives."""
    return subprocess.run(["bash", "-c", f'eval "$({BIN / "lens"} env --export)" && {command}'], env=stack.environment(), text=True,
                          capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("command, answer", [
    ("psql -XAtc 'select current_user, ssl from pg_stat_ssl where pid = pg_backend_pid()'", "lens_admin|t"),
    ('REDISCLI_AUTH=$(head -n 1 "$REDIS_PASSWORD_FILE") redis-cli -p "$REDIS_PORT" --user "$REDIS_USER" acl whoami', "lens-admin"),
    ("""/usr/bin/python3 -c 'import confluent_kafka, os
lines = open(os.environ["KCAT_CONFIG"]).read().split()
print("ledger" in confluent_kafka.Producer(dict(line.split("=", 1) for line in lines)).list_topics(timeout=20).topics)'""", "True")],
    ids=["psql", "redis-cli", "kcat"])
def test_env_gives_a_shell_what_it_needs(secure, command, answer):
    done = shell(secure, command)
    assert done.stdout.strip() == answer, done.stderr
    told = secure.run("env", "--export")
    assert not [name for name, value in secrets_of(secure).items() if value.decode() in told.stdout + told.stderr]
    for name in ("pgpass", "kcat.conf"):
        assert stat.S_IMODE((secure.home / "run" / name).stat().st_mode) == 0o600


def cut_off(secure, store: str) -> None:
    """accrue's connections end, and it has to show its password again."""
    if store == "kafka":
        pid = secure.kill("kafka")
        secure.wait_restarted("kafka", pid, 90)
    elif store == "redis":
        redis_as(secure, "admin").client_kill_filter(user="lens-accrue", skipme=True)
    else:
        with postgres_as(secure, "admin").cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'lens_accrue'")


def change_at_server(secure, store: str, password: str) -> None:
    if store == "postgres":
        with postgres_as(secure, "admin").cursor() as cursor:
            cursor.execute("alter role lens_accrue password %s", (password,))
    elif store == "redis":
        redis_as(secure, "admin").acl_setuser("lens-accrue", enabled=True, reset_passwords=True, passwords=[f"+{password}"])
    else:
        jars = pathlib.Path(os.environ.get("LENS_CACHE", pathlib.Path.home() / ".cache/loyalty-lens")) / "kafka-3.9.1" / "*"
        change = secure.home / "secrets" / "change.kafka"
        change.touch(0o600)
        change.write_text(f"SCRAM-SHA-512=password={password}\n")
        try:
            subprocess.run(["java", "-Xmx64m", "-XX:+UseSerialGC", "-Dlog4j.configuration=file:log4j.properties", "-cp", str(jars),
                            "kafka.admin.ConfigCommand", "--bootstrap-server", secure.env()["KAFKA_BOOTSTRAP"], "--command-config",
                            secure.home / "secrets" / "admin.properties", "--alter", "--add-config-file", change, "--entity-type",
                            "users", "--entity-name", "lens-accrue"], cwd=secure.home / "kafka", check=True, capture_output=True,
                           timeout=60)
        finally:
            change.unlink()


# What it is told by: the server's own word for it.
@pytest.mark.parametrize("store, word", [("kafka", "authentication failed"), ("redis", "WRONGPASS"), ("postgres", "28P01")])
def test_a_changed_password_is_told_without_it_and_taken_from_its_file(secure, store, word):
    path = secure.home / "secrets" / f"accrue.{store}"
    wait_for("all are ready", lambda: secure.status()["ready"], 90, 0.5)
    old, new, pid = secret(secure, path.name), f"new-{store}-0123456789-0123456789-0123456789", secure.service("accrue")["pid"]
    change_at_server(secure, store, new)
    cut_off(secure, store)

    def told(*words):
        def ask():
            state = secure.service("accrue")["waits_for"]
            return state if all(part in state for part in words) else None

        found = wait_for(f"`lens status` says {words}", ask, 60, 0.3)
        assert old not in found and new not in found

    told(f"{store} ", word, str(path))
    overs = secure.log("accrue").count("event=wait_over")
    time.sleep(2.5)
    assert secure.log("accrue").count("event=wait_over") == overs, "it waits for all of that time"
    path.chmod(0o644)
    told(str(path), "chmod 600")
    path.chmod(0o600)
    path.write_text(new + "\n")
    wait_for("accrue goes on", lambda: secure.service("accrue")["state"] == "ready", 60, 0.3)
    assert secure.service("accrue")["pid"] == pid, "by itself"
    wait_for("nobody else waits", lambda: secure.status()["ready"], 60, 0.5)
    for log in ("accrue", "kafka", "redis", "postgres"):
        assert old not in secure.log(log) and new not in secure.log(log)


def test_a_process_that_starts_with_a_wrong_password_waits_for_the_right_one(secure):
    path = secure.home / "secrets" / "relay.kafka"
    right = path.read_text()
    try:
        path.write_text("wrong-secret\n")
        old = secure.service("relay")["pid"]
        os.kill(old, signal.SIGTERM)
        told = wait_for("`lens status` says that the relay is not let in", lambda: (
            lambda words: words if "authentication failed" in words else None)(secure.service("relay")["waits_for"]), 60, 0.3)
        assert "wrong-secret" not in told and "kafka 127.0.0.1" in told and str(path) in told
        assert "wrong-secret" not in secure.log("relay")
        pid = secure.service("relay")["pid"]
        assert pid != old
    finally:
        path.write_text(right)
    wait_for("the relay goes on", lambda: secure.service("relay")["state"] == "ready", 60, 0.3)
    assert secure.service("relay")["pid"] == pid
    time.sleep(1)
    since = secure.log("relay").rsplit("event=ready ready=yes", 1)[1]
    assert "event=wait " not in since, "what it waited for before is not told again"


def test_up_again_changes_nothing_and_keeps_the_home_secure(secure):
    before = {name: secure.service(name)["pid"] for name in SERVICES + PROCESSES}
    secrets = secrets_of(secure)
    secure.up()
    assert {name: secure.service(name)["pid"] for name in SERVICES + PROCESSES} == before
    assert secrets_of(secure) == secrets
    secure.ready()


def test_a_home_that_was_begun_without_is_refused(home):
    (home.home / ".loyalty-lens").write_text("x")
    (home.home / "kafka" / "data").mkdir(parents=True)
    refused = home.run("up", "--secure", "--no-processes")
    assert refused.returncode == 1 and "begun without" in refused.stderr and "--purge" in refused.stderr
    assert not (home.home / "secrets").exists()
