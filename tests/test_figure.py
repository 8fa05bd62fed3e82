import csv
import re
import struct
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from images.record import CLIENTS, COLUMNS, HANG, SECONDS, TIMEOUT, record
from tests.gunicorn_server import newest

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "images"
WORKERS = 4


@pytest.fixture(scope="module")
def rows():
    with (IMAGES / "saturation.csv").open(newline="") as file:
        table = csv.DictReader(file)
        rows = [{name: float(value) for name, value in row.items()} for row in table]
    assert table.fieldnames == COLUMNS
    return rows


@pytest.fixture(scope="module")
def hang(rows):
    return [row for row in rows if row["database_hangs"]]


@pytest.fixture(scope="module")
def svg():
    return (IMAGES / "saturation.svg").read_text()


def pngs():
    return sorted(IMAGES.glob("*.png"))


def test_a_sample_for_each_second(rows):
    assert [row["second"] for row in rows] == pytest.approx(range(SECONDS), abs=0.1)


def test_load_rises(rows):
    clients = [row["clients"] for row in rows]
    assert clients == sorted(clients)
    assert (clients[0], clients[-1]) == (0, CLIENTS)


def test_the_check_counted_what_the_clients_counted(rows):
    differences = [
        abs(row["connections_accepted"] + row["connections_queued"] - row["unanswered_requests"]) for row in rows
    ]
    # A request may begin or end between the two counts.
    assert max(differences) <= 1
    assert differences.count(0) >= 0.9 * len(rows)


def test_before_the_hang_a_worker_is_free(rows):
    before = rows[: HANG.start]
    assert {row["connections_queued"] for row in before} == {0}
    assert max(row["connections_accepted"] for row in before) < WORKERS
    assert max(row["heartbeat_age_max"] for row in before) < 10


def test_cpu_is_idle_all_the_time(rows):
    assert max(row["cpu_percent"] for row in rows) < 2
    assert all(row["workers_idle"] + row["workers_working"] == WORKERS for row in rows)


def test_in_the_hang_connections_are_full_and_the_queue_grows(hang):
    assert len(hang) == len(HANG)
    assert {row["workers_idle"] for row in hang} == {WORKERS}
    assert {row["connections_accepted"] for row in hang} == {WORKERS}
    queued = [row["connections_queued"] for row in hang]
    assert queued == sorted(queued)
    assert (queued[0] < 4, queued[-1]) == (True, CLIENTS - WORKERS)


def test_in_the_hang_the_oldest_heartbeat_ages_with_the_clock(hang):
    ages = [row["heartbeat_age_max"] - row["second"] for row in hang]
    assert ages == pytest.approx([ages[0]] * len(hang), abs=0.2)
    assert 0.8 * TIMEOUT < hang[-1]["heartbeat_age_max"] < TIMEOUT


def test_after_the_hang_the_pool_recovers(rows):
    after = [row for row in rows[HANG.stop :] if not row["database_hangs"]]
    assert len(after) > 5
    assert max(row["connections_queued"] for row in after) < 3
    assert max(row["heartbeat_age_max"] for row in after) < 2


def test_the_svg_describes_itself_with_the_numbers_of_the_recording(svg, hang):
    root = ET.fromstring(svg)
    title, description = (root.findtext(f"{{http://www.w3.org/2000/svg}}{name}") for name in ("title", "desc"))
    assert title == "CPU idle, yet no worker is free"
    last = hang[-1]
    for number in (
        f"{WORKERS} workers",
        f"to {CLIENTS}.",
        f"second {HANG.start} to second {HANG.stop}",
        f"{max(row['cpu_percent'] for row in hang):.2g} % of a CPU",
        f"{last['connections_accepted']:g} connections are accepted",
        f"{last['connections_queued']:g} more are queued",
        f"age of {last['heartbeat_age_max']:.0f} seconds",
    ):
        assert number in description


def test_the_svg_names_no_date_no_creator_and_no_file(svg):
    assert not re.search(r"dc:date|dc:creator|Matplotlib", svg)
    assert str(Path.home()) not in svg
    assert str(ROOT) not in svg


def test_the_pngs_hold_pixels_and_nothing_else():
    assert [path.name for path in pngs()] == ["saturation.png", "saturation_wide.png"]
    for path in pngs():
        assert {name for name, _ in chunks(path.read_bytes())} == {b"IHDR", b"IDAT", b"IEND"}


def chunks(png):
    """List the chunks of a PNG: name and content."""
    position = 8
    while position < len(png):
        length, name = struct.unpack_from(">I4s", png, position)
        yield name, png[position + 8 : position + 8 + length]
        position += length + 12


def test_the_pictures_are_small():
    assert (IMAGES / "saturation.svg").stat().st_size < 150_000
    assert max(path.stat().st_size for path in pngs()) < 200_000


@newest
def test_it_records_a_running_server():
    rows = list(record(seconds=4))
    assert [list(row) for row in rows] == [COLUMNS] * 4
    assert [row["clients"] for row in rows] == [0, 1, 1, 1]
    assert [row["workers_idle"] + row["workers_working"] for row in rows] == [WORKERS] * 4
