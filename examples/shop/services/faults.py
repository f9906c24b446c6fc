"""What makes the inventory fail on purpose: items of the form fault:NAME. For tests and for trying things out.

    fault:STATUS      that status: fault:400, fault:429 (with Retry-After), fault:503, fault:204, fault:302 (to itself)
    fault:STATUS:N    the same, the first N times that the order comes; then all is well
    fault:hang        no answer, until the client goes
    fault:late        the right answer, after 6 s; fault:late:MS says how many milliseconds
    fault:drip        a byte of the answer each 100 ms, without end
    fault:close       the connection is closed instead of an answer
    fault:cut         the connection is closed in the middle of the answer
    fault:die         the process ends
    fault:huge        100 MB, with their length; fault:endless: 100 MB in chunks
    fault:badjson     JSON that is not whole
    fault:badce       a CloudEvent of another specversion
    fault:badschema   data that breaks the schema of its type
    fault:undeclared  a type that the step does not declare
    fault:untyped     data without a type, where there are several
    fault:html        a page
    fault:batch       two events in one answer
"""

import json
import os
import re
import select
import time
from collections import Counter

HUGE = 100 * 1024 * 1024
seen = Counter()
CE = {"ce-specversion": "1.0", "ce-source": "/inventory", "ce-id": "fault", "ce-type": "stock.reserved"}


def provoke(items, handler, order_id="", record=lambda fault: None):
    """Does what the first item of that form asks for. False: go on as usual."""
    fault = next((item for item in items if item.startswith("fault:")), None)
    if fault is None:
        return False
    _, name, *more = fault.split(":")
    count = int(more[0]) if more and re.fullmatch("[0-9]{1,6}", more[0]) else None
    if re.fullmatch("[2-5][0-9][0-9]", name):
        if count is not None:
            seen[order_id, fault] += 1
            if seen[order_id, fault] > count:
                return False
        record(fault)
        status(handler, int(name))
        return True
    if name == "late":
        time.sleep((6000 if count is None else count) / 1000)
        return False
    if name not in actions:
        return False
    record(fault)
    actions[name](handler, order_id)
    return True


def status(handler, code):
    headers = {"Retry-After": "1"} if code in (429, 503) else {"Location": handler.path} if code // 100 == 3 else {}
    if code in (204, 304):
        handler.send_response(code)
        handler.end_headers()
    else:
        handler.reply(code, {"error": f"asked for by fault:{code}"}, headers)


def start(handler, headers):
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


def raw(handler, content, headers):
    start(handler, {"Content-Type": "application/json", "Content-Length": str(len(content))} | headers)
    handler.wfile.write(content)


def hang(handler, _):
    # Readable is what a connection becomes when its other end closes it.
    select.select([handler.connection], [], [], 600)
    close(handler, _)


def close(handler, _):
    handler.close_connection = True


def cut(handler, _):
    start(handler, {"Content-Type": "application/json", "Content-Length": "1000"} | CE)
    handler.wfile.write(b'{"order_id":')
    handler.close_connection = True


def drip(handler, _):
    start(handler, {"Content-Type": "application/json", "Content-Length": "1000000"} | CE)
    while True:
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def huge(handler, _):
    start(handler, {"Content-Type": "application/json", "Content-Length": str(HUGE)} | CE)
    handler.wfile.write(b'"' + b"x" * (HUGE - 2) + b'"')


def endless(handler, _):
    start(handler, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"} | CE)
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    for _chunk in range(HUGE // 65536):
        handler.wfile.write(chunk)
    handler.wfile.write(b"0\r\n\r\n")


def batch(handler, order_id):
    events = [
        {"specversion": "1.0", "id": f"{kind}-{order_id}", "source": "/inventory", "type": kind}
        | {"data": {"order_id": order_id, "reservation_id": f"part-{order_id}"}}
        for kind in ("stock.reserved", "stock.rejected")
    ]
    raw(handler, json.dumps(events).encode(), {"Content-Type": "application/cloudevents-batch+json"})


actions = {
    "hang": hang,
    "close": close,
    "cut": cut,
    "drip": drip,
    "huge": huge,
    "endless": endless,
    "batch": batch,
    "die": lambda handler, _: os._exit(70),
    "badjson": lambda handler, _: raw(handler, b'{"order_id": "1", ', CE),
    "badce": lambda handler, _: raw(handler, b"{}", CE | {"ce-specversion": "0.3"}),
    "badschema": lambda handler, _: raw(handler, b'{"order_id":1}', CE),
    "undeclared": lambda handler, _: raw(handler, b"{}", CE | {"ce-type": "stock.mislaid"}),
    "untyped": lambda handler, _: raw(handler, b"{}", {}),
    "html": lambda handler, _: raw(handler, b"<h1>Hello</h1>", {"Content-Type": "text/html"}),
}
