"""Trains small seeded models on synthetic data and writes each as ONNX, with scikit-learn's own answers beside it.

    python models.py DIR SEED

The answers come from scikit-learn alone, never from ONNX Runtime: they are what tests hold the server against.
"""

import json
import os
import sys
import warnings

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

OPSET = {"": 18, "ai.onnx.ml": 3}
ROWS = 200


def main(folder, seed):
    makers = {
        "multiclass": multiclass,
        "binary-labels": binary_labels,
        "regressor": regressor,
        "scaled-linear": scaled_linear,
        "mlp": mlp,
        "mixed-columns": mixed_columns,
    }
    names = sorted(makers)
    models = []
    # Sixty iterations are plenty here: the network has to be reproduced, not to be good.
    warnings.simplefilter("ignore", ConvergenceWarning)
    for offset, name in enumerate(names):
        print(f"training {name}", file=sys.stderr, flush=True)
        # The seed is anything; each model has its own stream, so that adding a model does not change the others.
        estimator, fresh = makers[name]((seed * 1000 + offset) % 2**32)
        models.append(write(os.path.join(folder, name), name, estimator, fresh))
    print(json.dumps({"seed": seed, "models": models}))


# ---------------------------------------------------------------------------------------------------------------------
# The models. Each maker returns the fitted estimator and rows that it has not seen, as {input name: array or column}.


def multiclass(seed):
    X, y = classification(seed, features=12, informative=8, classes=5)
    return GradientBoostingClassifier(n_estimators=20, random_state=seed).fit(X[:1000], y[:1000]), {"X": X[1000:]}


def binary_labels(seed):
    X, y = classification(seed, features=6, informative=4, classes=2)
    labels = np.array(["keep", "cancel"])[y]
    return RandomForestClassifier(n_estimators=25, random_state=seed).fit(X[:1000], labels[:1000]), {"X": X[1000:]}


def regressor(seed):
    X, y = make_regression(n_samples=1600, n_features=8, n_informative=6, noise=5.0, random_state=seed)
    X = X.astype(np.float32)
    return GradientBoostingRegressor(n_estimators=40, random_state=seed).fit(X[:1000], y[:1000]), {"X": X[1000:]}


def scaled_linear(seed):
    X, y = classification(seed, features=10, informative=6, classes=3)
    # Columns of very different sizes: a scaler that is left out would show.
    X = (X * np.logspace(-2, 3, 10) + np.linspace(-50, 50, 10)).astype(np.float32)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model.fit(X[:1000], y[:1000]), {"X": X[1000:]}


def mlp(seed):
    X, y = classification(seed, features=9, informative=6, classes=4)
    model = MLPClassifier(hidden_layer_sizes=(24, 12), max_iter=60, random_state=seed)
    return model.fit(X[:1000], y[:1000]), {"X": X[1000:]}


def mixed_columns(seed):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1, 1600).astype(np.float32),
            "age": rng.integers(18, 90, 1600).astype(np.float32),
            "country": rng.choice(["PT", "DE", "中国", "BR"], 1600),
            "channel": rng.choice(["web", "shop", "phone"], 1600, p=[0.7, 0.2, 0.1]),
        }
    )
    risk = 0.5 * np.log(frame["amount"]) - 0.02 * frame["age"] + (frame["country"] == "中国") + rng.normal(0, 0.5, 1600)
    labels = np.where(risk > np.median(risk), "review", "accept")
    model = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", StandardScaler(), ["amount", "age"]),
                ("words", OneHotEncoder(handle_unknown="ignore"), ["country", "channel"]),
            ]
        ),
        LogisticRegression(max_iter=1000),
    )
    model.fit(frame[:1000], labels[:1000])
    fresh = frame[1000:].reset_index(drop=True)
    fresh.loc[::50, "channel"] = "fax"  # a word that the encoder has never seen
    return model, {name: fresh[[name]] for name in frame.columns}


def classification(seed, features, informative, classes):
    X, y = make_classification(
        n_samples=1600, n_features=features, n_informative=informative, n_classes=classes, random_state=seed
    )
    return X.astype(np.float32), y


# ---------------------------------------------------------------------------------------------------------------------
# Writing them


def write(folder, name, estimator, fresh):
    os.makedirs(folder, exist_ok=True)
    options = {"zipmap": False} if is_classifier(estimator) else None
    types = [(key, tensor_type(key, fresh)) for key in fresh]
    model = to_onnx(estimator, initial_types=types, options=options, target_opset=OPSET)
    path = os.path.join(folder, "model.onnx")
    with open(path, "wb") as file:
        file.write(model.SerializeToString())

    fresh = clear_rows(estimator, fresh)
    outputs = answers(estimator, rows_of(fresh), [output.name for output in model.graph.output])
    inputs = [tensor(key, np.asarray(values)) for key, values in fresh.items()]
    tolerance = {"absolute": 1e-5, "relative": 0} if is_classifier(estimator) else {"absolute": 1e-3, "relative": 1e-4}
    cases = os.path.join(folder, "cases.json")
    with open(cases, "w", encoding="utf-8") as file:
        case = {"name": f"{ROWS} rows", "inputs": inputs, "outputs": outputs}
        json.dump({"tolerance": tolerance, "cases": [case]}, file, ensure_ascii=False)
    classes = estimator.classes_.tolist() if is_classifier(estimator) else None
    return {
        "name": name,
        "path": path,
        "cases": cases,
        "rows": ROWS,
        "inputs": signature(inputs),
        "outputs": signature(outputs),
        **({"classes": classes} if classes else {}),
    }


def signature(tensors):
    return [{"name": t["name"], "datatype": t["datatype"], "shape": [-1, *t["shape"][1:]]} for t in tensors]


def tensor_type(name, fresh):
    values = np.asarray(fresh[name])
    return (FloatTensorType if values.dtype == np.float32 else StringTensorType)([None, values.shape[1]])


def rows_of(fresh):
    return fresh["X"] if "X" in fresh else pd.concat(fresh.values(), axis=1)


def clear_rows(estimator, fresh):
    """200 rows whose best two classes are further apart than float32 arithmetic can blur."""
    keep = np.ones(len(rows_of(fresh)), dtype=bool)
    if is_classifier(estimator):
        ranked = np.sort(estimator.predict_proba(rows_of(fresh)), axis=1)
        keep = ranked[:, -1] - ranked[:, -2] > 1e-3
    chosen = np.flatnonzero(keep)[:ROWS]
    if len(chosen) < ROWS:
        raise SystemExit(f"only {len(chosen)} of the fresh rows are clear; {ROWS} are needed")
    pick = lambda values: values[chosen] if isinstance(values, np.ndarray) else values.iloc[chosen]
    return {key: pick(values) for key, values in fresh.items()}


def answers(estimator, rows, names):
    predicted = estimator.predict(rows)
    if not is_classifier(estimator):
        return [tensor(names[0], predicted.reshape(-1, 1), "FP32")]
    return [tensor(names[0], predicted), tensor(names[1], estimator.predict_proba(rows), "FP32")]


def tensor(name, values, datatype=None):
    """As the Open Inference Protocol has it, the data flat. Floats keep scikit-learn's own float64 digits."""
    datatype = datatype or {"f": "FP32", "i": "INT64"}.get(values.dtype.kind, "BYTES")
    data = [float(value) if datatype == "FP32" else value for value in values.reshape(-1).tolist()]
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": data}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
