"""Writes the pickles that convert.test.ts converts:  python test_models.py DIR"""

import pickle
import sys
import types
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import sklearn.base
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification, make_regression
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.semi_supervised import LabelSpreading
from sklearn.svm import SVC

folder = Path(sys.argv[1])


class OfThisScript(BaseEstimator):
    def predict(self, X):
        return np.zeros(len(X))


class RunsCode:
    def __reduce__(self):
        # What a pickle may do: here it leaves a trace, prints what looks like an answer, and ends the process.
        code = f"open({str(folder / 'ran')!r}, 'w').close(); print('{{}}', flush=True); import os; os._exit(0)"
        return exec, (code,)


X, y = make_classification(n_samples=400, n_features=6, n_informative=4, n_classes=3, random_state=11)
Xr, yr = make_regression(300, 5, noise=3, random_state=11)
rng = np.random.default_rng(11)
frame = pd.DataFrame(
    {
        "age": rng.integers(18, 80, 400),
        "city": rng.choice(["Porto", "Köln", "北京"], 400),
        "tier": rng.choice([1, 2, 3], 400),
        "note": "never used",
        "score": rng.normal(size=400),
    }
)
bought = np.where((frame["age"] > 40) ^ (frame["city"] == "Porto"), "yes", "no")
words = ("words", OneHotEncoder(handle_unknown="ignore"), ["city"])
numbers = ("numbers", StandardScaler(), ["age"])


def columns(*parts, **options):
    return make_pipeline(ColumnTransformer(list(parts), **options), LogisticRegression(max_iter=1000)).fit(frame, bought)


models = {
    "forest": RandomForestClassifier(n_estimators=20, random_state=1).fit(X, np.array(["red", "tan", "blue"])[y]),
    "boosting": HistGradientBoostingClassifier(max_iter=10, random_state=1).fit(X, y),
    "regressor": GradientBoostingRegressor(n_estimators=20, random_state=1).fit(Xr, yr),
    "scaled": make_pipeline(StandardScaler(), LogisticRegression()).fit(X * 100 + 7, y),
    "named": LogisticRegression().fit(frame[["score", "age"]].astype(float), bought),
    "columns": columns(numbers, words, ("tiers", OneHotEncoder(), ["tier"])),
    "undecided": columns(numbers, words, ("rest", "passthrough", ["score"])),
    "margins": SVC().fit(X, y),
    "clusters": KMeans(3, random_state=1, n_init=1).fit(X),
    "no-converter": LabelSpreading().fit(X, y),
    "not-fitted": LogisticRegression(),
    "scaler-only": StandardScaler().fit(X),
    "unscaled": LogisticRegression().fit(X, y),
    # Far from zero, where the products and the intercept almost cancel: float32 has no digits left for the rest.
    "far-off": LinearRegression().fit(Xr + 1e6, yr),
    "two-labels": RandomForestClassifier(n_estimators=2).fit(X, np.c_[y > 0, y > 1]),
}
for name, model in models.items():
    joblib.dump(model, folder / f"{name}.joblib")
pd.DataFrame(Xr + 1e6).to_csv(folder / "far-off.csv", index=False)
frame.assign(bought=bought).to_csv(folder / "people.csv", index=False)
frame.drop(columns="city").to_csv(folder / "no-city.csv", index=False)
frame.assign(age=frame["age"].astype(str).where(frame.index != 3, "old")).to_csv(folder / "bad-age.csv", index=False)

(folder / "plain.pkl").write_bytes(pickle.dumps(models["forest"]))
(folder / "dict.pkl").write_bytes(pickle.dumps({"model": models["forest"]}))
(folder / "of-a-script.pkl").write_bytes(pickle.dumps(OfThisScript()))
(folder / "runs-code.pkl").write_bytes(pickle.dumps(RunsCode()))
(folder / "garbage.pkl").write_bytes(rng.bytes(500))
(folder / "empty.pkl").write_bytes(b"")

# A module that was there when the model was saved, and is not when it is converted.
absent = types.ModuleType("levada_absent")
exec("class Model:\n    pass", absent.__dict__)
sys.modules["levada_absent"] = absent
(folder / "absent-module.pkl").write_bytes(pickle.dumps(absent.Model()))

sklearn.base.__version__ = "1.2.0"
joblib.dump(models["scaled"], folder / "older.joblib")
