"""Trains the fraud model of the shop example on made-up orders and exports it. Run by hack/export-fraud.ts.

    python export_fraud.py [--output examples/shop]

Writes models/fraud/1/model.onnx and expected/orders.json, which has for each of some orders what scikit-learn itself
answers and what the services do, and puts the file's digest into shop.yaml.
"""

import argparse
import json
import sys
from pathlib import Path

# First: it sets what numpy reads when it is imported.
from export_iris import TOLERANCE, agreed_answers, compact, export, write_digests  # isort: skip

import numpy as np
import onnx
import onnxruntime
import skl2onnx
import sklearn
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score

SHOP = Path(__file__).resolve().parents[2] / "examples" / "shop"
SEED = 20_260
FLAGGED_ABOVE = 0.5
CARRIERS = ("Bird", "Ox", "Snail")

# What the made-up table of orders cannot miss.
ORDERS = [
    {"items": ["itemA", "itemB"], "total_amount": 100.0, "user_id": 123},
    {"items": ["laptop", "mouse"], "total_amount": 1200.0, "user_id": 456},
    {"items": ["laptop"], "total_amount": 4999.99, "user_id": 17},
    {"items": ["rare-stamp"], "total_amount": 35.5, "user_id": 1},
    {"items": ["mouse", "rare-vase", "mouse"], "total_amount": 0.1, "user_id": 3},
    {"items": [], "total_amount": 0, "user_id": 2},
    {"items": ["b\u00fccher & m\u00f6bel/50%", "\u6587\u5b57", "\U0001f680"], "total_amount": 12.34, "user_id": 34},
    {"items": ["a?b#c", "..x", " "], "total_amount": 1e6, "user_id": 999999999},
    {"items": ["mouse"] * 12, "total_amount": 300, "user_id": 51},
    {"items": ["pen"], "total_amount": 1.5, "user_id": 0},
    {"items": ["pen"], "total_amount": -5, "user_id": -4},
]
NAMES = ("laptop", "mouse", "desk", "lamp", "pen", "paper", "chair", "phone", "rare-coin", "book")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=SHOP)
    output = parser.parse_args().output

    rng = np.random.default_rng(SEED)
    train, test = made_up(rng, 20_000), made_up(rng, 5_000)
    model = GradientBoostingClassifier(n_estimators=40, max_depth=3, min_samples_leaf=100, random_state=SEED).fit(*train)
    print(f"fraud: {model}, area under curve {roc_auc_score(test[1], model.predict_proba(test[0])[:, 1]):.3f}")

    orders = ORDERS + some_orders(rng, 50 - len(ORDERS))
    rows = np.array([features(order) for order in orders], np.float64).astype(np.float32)
    content = export(model)
    agreed_answers("fraud", model, content, np.vstack([rows, test[0]]))
    fraud = model.predict_proba(rows)[:, 1]

    path = output / "models" / "fraud" / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    print(f"{path}: {len(content)} bytes; {int((fraud > FLAGGED_ABOVE).sum())} of {len(orders)} orders are flagged")
    write_expected(output / "expected" / "orders.json", model, orders, rows, fraud)
    write_digests(output / "shop.yaml", {"v1": content})


def features(order):
    """The same four numbers as `inputs` of the step `score` in shop.yaml. fmod: the sign of %, as JSON's users know it."""
    total, count = order["total_amount"], len(order["items"])
    return [total, count, np.fmod(order["user_id"], 17), total / count if count else 0]


def made_up(rng, count):
    """Orders as numbers, and which of them were fraud: dear single items, large sums, and a few odd groups of users."""
    totals = np.round(rng.lognormal(4.5, 1.4, count), 2)
    items = rng.integers(1, 13, count)
    groups = rng.integers(0, 17, count)
    rows = np.stack([totals, items, groups, totals / items], axis=1).astype(np.float32)
    score = -5.0 + 0.0015 * totals + 4.0 * ((items == 1) & (totals > 800)) + 2.0 * np.isin(groups, [0, 13])
    return rows, (rng.random(count) < 1 / (1 + np.exp(-score))).astype(np.int64)


def some_orders(rng, count):
    for_user = rng.integers(1, 100_000, count)
    totals = np.round(rng.lognormal(5.5, 1.6, count), 2)
    baskets = [rng.choice(NAMES, size) for size in rng.integers(1, 7, count)]
    return [
        {"items": [str(name) for name in basket], "total_amount": float(total), "user_id": int(user)}
        for basket, total, user in zip(baskets, totals, for_user, strict=True)
    ]


def outcome(order):
    """What is to become of an order, apart from its id. The services' answers are worked out here once more."""
    user, items = order["user_id"], order["items"]
    missing = [item for item in items if item.startswith("rare")]
    known = user > 0
    results = [{"status": 200, "data": stock(item)} for item in items]
    results.append({"status": 200, "data": customer(user)} if known else {"status": 404})
    results.append({"status": 200, "data": quote(user)} if known else {"status": 404})
    if missing or not items:
        reason = "out of stock" if missing else "nothing was ordered"
        return {"inventory": "stock.rejected", "reply": {"reason": reason, "missing": missing}, "results": results}
    lines = [{"item": item, "unit_price_cents": stock(item)["unit_price_cents"]} for item in items]
    number = max(user, 0)
    shipment = {"carrier": CARRIERS[number % 3], "parcels": -(-len(items) // 3), "days": 1 + number % 5}
    return {"inventory": "stock.reserved", "reply": {"lines": lines}, "shipment": shipment, "results": results}


def stock(item):
    total = sum(ord(character) for character in item)
    available, price = {"laptop": (25, 99900), "mouse": (200, 2500)}.get(
        item, (10 + total % 90, 500 + total % 100 * 50)
    )
    return {"item": item, "available": 0 if item.startswith("rare") else available, "unit_price_cents": price}


def customer(user):
    tier = ("basic", "silver", "gold")[user % 3]
    return {"user_id": user, "name": f"Customer {user}", "tier": tier, "since": 2010 + user % 15}


def quote(user):
    price = 400 + user % 7 * 50
    return {"user_id": user, "carrier": CARRIERS[user % 3], "price_cents": price, "days": 1 + user % 5}


def write_expected(path, model, orders, rows, fraud):
    """One order a line, so that a diff shows which orders changed."""
    libraries = {module.__name__: module.__version__ for module in (sklearn, skl2onnx, onnx, onnxruntime, np)}
    lines = [
        compact(
            {"order": order, "inputs": [float(str(value)) for value in row], "fraud": float(probability)}
            | {"flagged": bool(probability > FLAGGED_ABOVE)}
            | outcome(order)
        )
        for order, row, probability in zip(orders, rows, fraud, strict=True)
    ]
    head = {"libraries": libraries, "tolerance": TOLERANCE, "model": " ".join(str(model).split())}
    body = [f"{compact(key)}:{compact(value)}" for key, value in head.items()]
    body.append('"orders":[\n' + ",\n".join(lines) + "\n]")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(body) + "\n}\n", encoding="utf-8")
    json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
