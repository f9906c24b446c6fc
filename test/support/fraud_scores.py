"""The fraud score of each order of a file, by scikit-learn itself: trained anew, as hack/python/export_fraud.py does.

    python fraud_scores.py ORDERS.json      a list of orders in, a list of probabilities out
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "hack" / "python"))

from export_fraud import SEED, features, made_up  # isort: skip

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier

orders = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
train = made_up(np.random.default_rng(SEED), 20_000)
model = GradientBoostingClassifier(n_estimators=40, max_depth=3, min_samples_leaf=100, random_state=SEED).fit(*train)
rows = np.array([features(order) for order in orders], np.float64).astype(np.float32)
print(json.dumps(model.predict_proba(rows)[:, 1].tolist()))
