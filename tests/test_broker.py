"""The files that are the broker of the embedded mode, used by many at once."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kombu import Connection, Exchange, Queue

from t2isearch.broker import Transport
from t2isearch.files import discard
from tests.damages import DAMAGES, damage

SENDERS, MESSAGES = 4, 150


def connection(folder: Path) -> Connection:
    (folder / "messages").mkdir(exist_ok=True)
    made = Connection(
        "filesystem://localhost",
        transport_options={
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
        },
    )
    assert isinstance(made.transport, Transport)
    return made


def test_messages_are_read_whole_and_once(tmp_path: Path) -> None:
    sent_all = threading.Event()
    names = [f"{sender}-{number}" for sender in range(SENDERS) for number in range(MESSAGES)]

    def send(sender: int) -> None:
        with connection(tmp_path) as broker, broker.SimpleQueue("work") as queue:
            for number in range(MESSAGES):
                queue.put({"name": f"{sender}-{number}", "more": "x" * 5000})

    def read(_reader: int) -> Iterator[str]:
        found = []
        with connection(tmp_path) as broker, broker.SimpleQueue("work", no_ack=True) as queue:
            while True:
                last = sent_all.is_set()
                try:
                    found.append(queue.get_nowait().payload["name"])
                except queue.Empty:
                    if last:
                        return iter(found)

    # Threads of one process share what kombu knows of bindings: the first one has to be through.
    with connection(tmp_path) as broker, broker.SimpleQueue("work"):
        pass
    with ThreadPoolExecutor(SENDERS + 2) as threads:
        reading = [threads.submit(read, reader) for reader in range(2)]
        for sending in [threads.submit(send, sender) for sender in range(SENDERS)]:
            sending.result()
        sent_all.set()
        found = Counter(name for reader in reading for name in reader.result())
    assert found == Counter(names)
    assert list((tmp_path / "messages").iterdir()) == []


def test_queues_bound_at_once_are_all_bound(tmp_path: Path) -> None:
    def bind(number: int) -> None:
        with connection(tmp_path) as broker:
            exchange = Exchange("news", type="fanout")
            Queue(f"reader{number}", exchange).bind(broker.default_channel).declare()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(bind, range(24)))
    table = json.loads((tmp_path / "control" / "news.exchange").read_text())
    assert sorted(queue for _key, _pattern, queue in table) == sorted(
        f"reader{number}" for number in range(24)
    )


def test_a_deleted_queue_is_bound_no_more(tmp_path: Path) -> None:
    with connection(tmp_path) as broker:
        exchange = Exchange("news", type="fanout")
        for name in ("one", "two"):
            Queue(name, exchange).bind(broker.default_channel).declare()
        Queue("one", exchange).bind(broker.default_channel).delete()
    table = json.loads((tmp_path / "control" / "news.exchange").read_text())
    assert [queue for _key, _pattern, queue in table] == ["two"]


@pytest.mark.parametrize("name", ["../out", ""])
def test_names_of_exchanges_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    with connection(tmp_path) as broker:
        queue = Queue("reader", Exchange(name, type="direct"), routing_key="reader")
        if name:
            with pytest.raises(Exception, match="Invalid exchange name"):
                queue.bind(broker.default_channel).declare()
        else:
            queue.bind(broker.default_channel).declare()
    assert not (tmp_path / "out.exchange").exists()


# kombu keeps in mind what a process bound, so each test has a queue of its own.
every_damage = pytest.mark.parametrize("how", DAMAGES)


@every_damage
def test_a_damaged_message_is_left_out(tmp_path: Path, how: str) -> None:
    with connection(tmp_path) as broker, broker.SimpleQueue(tmp_path.name, no_ack=True) as queue:
        queue.put("first")
        (first,) = (tmp_path / "messages").iterdir()
        damage(first, how)
        queue.put("second")
        assert queue.get_nowait().payload == "second"
        with pytest.raises(queue.Empty):
            queue.get_nowait()
    assert list((tmp_path / "messages").iterdir()) == []


@every_damage
def test_a_damaged_table_is_made_anew_while_it_is_used(tmp_path: Path, how: str) -> None:
    with connection(tmp_path) as broker, broker.SimpleQueue(tmp_path.name, no_ack=True) as queue:
        table = tmp_path / "control" / f"{tmp_path.name}.exchange"
        before = table.read_bytes()
        damage(table, how)
        queue.put("delivered")
        assert queue.get_nowait().payload == "delivered"
        assert table.read_bytes() == before


@pytest.mark.parametrize("name", ["messages", "control", "control/lock"])
def test_folders_of_the_broker_that_are_gone_are_made_anew(tmp_path: Path, name: str) -> None:
    with connection(tmp_path) as broker, broker.SimpleQueue(tmp_path.name, no_ack=True) as queue:
        for make in (Path.touch, Path.mkdir):
            discard(tmp_path / name)
            make(tmp_path / name)
            queue.put(make.__name__)
            assert queue.get_nowait().payload == make.__name__
        discard(tmp_path / name)
        queue.put("gone")
        assert queue.get_nowait().payload == "gone"
