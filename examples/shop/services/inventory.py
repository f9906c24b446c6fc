"""The inventory of the shop: reserves the items of an order. Python's standard library alone; inventory.mjs is its twin.

    POST /reserve          a CloudEvent order.created in, stock.reserved or stock.rejected out
    GET  /stock/ITEM       what is there of an item
    GET  /customers/ID     a customer's record
    GET  /stats            reservations of this process

The port is in the environment variable PORT, the address in HOST (default: 127.0.0.1). With INVENTORY_LEDGER, a line of
JSON for each event that was handled goes to that file before the answer does.
"""

import json
import os
import re
import signal
import threading
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import faults

MAX_BODY = 16 * 1024 * 1024
REMEMBERED = 100_000
KNOWN = {"laptop": (25, 99900), "mouse": (200, 2500)}
TIERS = ("basic", "silver", "gold")


def stock(item):
    """How many there are and what one costs. Made up from the name, so that every twin says the same."""
    total = sum(map(ord, item))
    available, price = KNOWN.get(item, (10 + total % 90, 500 + total % 100 * 50))
    if item.startswith("rare"):
        available = 0
    return {"item": item, "available": available, "unit_price_cents": price}


def customer(number):
    return {"user_id": number, "name": f"Customer {number}", "tier": TIERS[number % 3], "since": 2010 + number % 15}


def reserve(order):
    """The type and the data of the event that answers an order."""
    found = {"order_id": order["order_id"], "user_id": order.get("user_id")}
    missing = [item for item in order["items"] if stock(item)["available"] == 0]
    if missing or not order["items"]:
        reason = "out of stock" if missing else "nothing was ordered"
        return "stock.rejected", found | {"reason": reason, "missing": missing}
    lines = [{"item": item, "unit_price_cents": stock(item)["unit_price_cents"]} for item in order["items"]]
    return "stock.reserved", found | {"reservation_id": "res-" + order["order_id"], "lines": lines}


def not_json(constant):
    raise ValueError(constant)  # NaN and Infinity, which Python would take


def problem_of(order):
    """Why the data of an event is no order, or None."""
    if not isinstance(order, dict):
        return "an order is an object"
    if not isinstance(order.get("order_id"), str) or not re.fullmatch("[A-Za-z0-9_-]{1,64}", order["order_id"]):
        return "order_id: letters, digits, - and _, at most 64"
    items = order.get("items")
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        return "items: a list of texts"
    return None


class Reservations:
    """What was answered, by idempotency key: a key that comes again gets the same answer, and nothing is done again."""

    def __init__(self):
        self.answers = OrderedDict()
        self.counts = {"stock.reserved": 0, "stock.rejected": 0}
        self.lock = threading.Lock()
        path = os.environ.get("INVENTORY_LEDGER")
        self.ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else None

    def answer(self, order, key, attempt):
        with self.lock:
            repeated = key in self.answers
            if not repeated:
                self.answers[key] = reserve(order)
                self.counts[self.answers[key][0]] += 1
                if len(self.answers) > REMEMBERED:
                    self.answers.popitem(last=False)
            answer = self.answers[key]
        self.record(order["order_id"], key, attempt, answer[0], repeated)
        return answer

    def record(self, order_id, key, attempt, outcome, repeated=False):
        if self.ledger is None:
            return
        line = {"order_id": order_id, "key": key, "attempt": attempt, "pid": os.getpid()}
        line |= {"outcome": outcome, "repeated": repeated}
        # One write of an append-only file: lines of threads do not mix, and the kernel has it before the answer goes.
        os.write(self.ledger, (json.dumps(line) + "\n").encode())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body go in one packet

    def do_GET(self):
        kind, _, rest = self.path.split("?")[0].removeprefix("/").partition("/")
        name = unquote(rest)
        if kind == "stock" and name:
            if not faults.provoke([name], self):
                self.reply(200, stock(name))
        elif kind == "customers" and re.fullmatch("[1-9][0-9]{0,14}", name):
            self.reply(200, customer(int(name)))
        elif kind == "stats" and not name:
            self.reply(200, self.server.reservations.counts)
        else:
            self.reply(404, {"error": "not found"})

    def do_POST(self):
        body = self.body()
        if body is None:
            return
        if self.path != "/reserve":
            self.reply(404, {"error": "not found"})
            return
        try:
            order = json.loads(body.decode("utf-8"), parse_constant=not_json)
        except (ValueError, RecursionError):
            self.reply(400, {"error": "the body is not JSON"})
            return
        problem = problem_of(order)
        if problem:
            self.reply(400, {"error": problem})
        else:
            self.handle_order(order)

    def handle_order(self, order):
        key = self.headers.get("idempotency-key") or order["order_id"]
        attempt = self.headers.get("x-levada-attempt", "")
        attempt = int(attempt) if re.fullmatch("[0-9]{1,9}", attempt) else None
        reservations = self.server.reservations
        record = lambda fault: reservations.record(order["order_id"], key, attempt, fault)  # noqa: E731
        if faults.provoke(order["items"], self, order["order_id"], record):
            return
        kind, data = reservations.answer(order, key, attempt)
        self.reply(200, data, event_headers(kind, order["order_id"]))

    def body(self):
        length = self.headers.get("content-length", "")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > MAX_BODY:
            self.close_connection = True
            self.reply(413 if length else 411, {"error": f"Content-Length: at most {MAX_BODY}"})
            return None
        return self.rfile.read(int(length))

    def reply(self, status, data, headers=None):
        content = json.dumps(data, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass  # a line a request would hide the others


def event_headers(kind, order_id):
    """Binary mode: the attributes are headers, the body is the data. The same order gives an event of the same id."""
    return {"ce-specversion": "1.0", "ce-type": kind, "ce-source": "/inventory", "ce-id": f"reserve-{order_id}"}


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, address):
        super().__init__(address, Handler)
        self.reservations = Reservations()

    def handle_error(self, *_):
        pass  # a client that goes away is nothing to say


def main():
    # What is in hand is cut off and comes again: the key keeps it from being done twice.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    with Server((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]))) as server:
        print(f"inventory (Python) listens on {server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
