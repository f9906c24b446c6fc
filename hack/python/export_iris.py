"""Trains the iris models as the example's README says and exports them. Run by hack/export-iris.ts.

    python export_iris.py [--output examples/iris] [--joblib DIR]

--output writes models/1/model.onnx (random forest), models/2/model.onnx (logistic regression) and expected/rows.json,
which has scikit-learn's own answers, and puts the files' digests into iris.yaml. --joblib writes v1.joblib and
v2.joblib.
"""

import argparse
import hashlib
import json
import os
import re
from pathlib import Path

# OpenBLAS adds up in another order on CPUs with AVX-512, which changes the last digits of the fitted coefficients and
# with them the files' digests. This is read when numpy is imported.
os.environ["OPENBLAS_CORETYPE"] = "Haswell"

import joblib
import numpy as np
import onnx
import onnxruntime
import skl2onnx
import sklearn
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

OPSET = {"": 18, "ai.onnx.ml": 3}
TOLERANCE = 1e-5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path)
    parser.add_argument("--joblib", type=Path)
    arguments = parser.parse_args()

    iris = load_iris()
    X_train, X_test, y_train, y_test = train_test_split(iris.data, iris.target, test_size=0.2, random_state=42)
    models = {
        "v1": RandomForestClassifier(n_estimators=100, random_state=42),
        "v2": LogisticRegression(max_iter=1000),
    }
    for name, model in models.items():
        model.fit(X_train, y_train)
        print(f"{name}: {model}, accuracy {model.score(X_test, y_test):.3f} on {len(y_test)} rows it has not seen")

    if arguments.output:
        # Everything is checked before anything is written.
        files = {name: export(model) for name, model in models.items()}
        rows = iris.data.astype(np.float32)
        answers = {name: agreed_answers(name, models[name], files[name], rows) for name in models}
        for name, content in files.items():
            path = arguments.output / "models" / name.removeprefix("v") / "model.onnx"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            print(f"{path}: {len(content)} bytes")
        write_expected(arguments.output / "expected" / "rows.json", models, rows, answers, iris.target_names.tolist())
        write_digests(arguments.output / "iris.yaml", files)
    if arguments.joblib:
        arguments.joblib.mkdir(parents=True, exist_ok=True)
        for name, model in models.items():
            joblib.dump(model, arguments.joblib / f"{name}.joblib")


def export(model):
    types = [("X", skl2onnx.common.data_types.FloatTensorType([None, 4]))]
    graph = skl2onnx.to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset=OPSET)
    return graph.SerializeToString(deterministic=True)


def agreed_answers(name, model, content, rows):
    """scikit-learn's answers, once ONNX Runtime is known to give the same."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(["label", "probabilities"], {"X": rows})
    expected_labels, expected = model.predict(rows), model.predict_proba(rows)
    wrong = int((labels != expected_labels).sum())
    largest = float(np.abs(probabilities - expected).max())
    if wrong or largest > TOLERANCE:
        raise SystemExit(f"{name}: {wrong} of {len(rows)} classes differ, probabilities by up to {largest}")
    print(f"{name}: all {len(rows)} rows agree, probabilities within {largest:.1e}")
    return [
        {"prediction": int(label), "probabilities": row.tolist()}
        for label, row in zip(expected_labels, expected, strict=True)
    ]


def write_expected(path, models, rows, answers, class_names):
    """One row a line, so that a diff shows which rows changed. str() of a float32 is the shortest that reads back."""
    libraries = {module.__name__: module.__version__ for module in (sklearn, skl2onnx, onnx, onnxruntime, np, joblib)}
    lines = []
    for index, features in enumerate(rows):
        row = {"features": [float(str(value)) for value in features]}
        lines.append(compact(row | {name: answers[name][index] for name in models}))
    head = {
        "classNames": class_names,
        "libraries": libraries,
        "tolerance": TOLERANCE,
        "versions": {name: str(model) for name, model in models.items()},
    }
    body = [f"{compact(key)}:{compact(value)}" for key, value in head.items()]
    body.append('"rows":[\n' + ",\n".join(lines) + "\n]")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(body) + "\n}\n", encoding="utf-8")


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def write_digests(path, files):
    text = path.read_text(encoding="utf-8")
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        line = re.compile(rf"(- name: {name}\b.*\n(?:    .*\n)*?    sha256: )\S+")
        text, count = line.subn(rf"\g<1>{digest}", text)
        if count != 1:
            raise SystemExit(f"{path}: no sha256 line of version {name}")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
