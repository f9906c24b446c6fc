"""Rows to compare on when the user gives none: seeded, and spread over what the model has seen, where it tells."""

import numpy as np
import pandas as pd
from model_inputs import first_step, fitted_columns
from refusal import unsupported
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

ROWS = 2000
SEED = 42


def generate(estimator, signature):
    """The rows, and the columns of which nothing is known: they are standard normal."""
    rng = np.random.default_rng(SEED)
    kinds = signature.kinds()
    first = first_step(estimator)
    if isinstance(first, ColumnTransformer) and signature.named:
        used = fitted_columns(first, signature.columns)
        draws = {column: from_transformers(used[column], column) for column in kinds}
    else:
        known = list(matrix_knowledge(estimator))
        draws = {
            column: next(filter(None, (look(index) for look in known)), None)
            for index, column in enumerate(signature.columns)
        }
    rows = typed({column: (draw or normal(0, 1))(rng) for column, draw in draws.items()}, kinds)
    return rows, [column for column, draw in draws.items() if draw is None]


def typed(columns, kinds):
    frame = {}
    for column, values in columns.items():
        values = np.round(np.asarray(values, float)) if kinds[column] == "int64" else values
        frame[column] = pd.Series(values, dtype=object if kinds[column] == "string" else kinds[column])
    return pd.DataFrame(frame)


# A draw is a function of the generator that gives a column of rows.


def normal(center, spread):
    return lambda rng: rng.normal(center, abs(spread) or 1.0, ROWS)


def uniform(low, high):
    margin = 0.1 * (high - low) or 1.0
    return lambda rng: rng.uniform(low - margin, high + margin, ROWS)


def choice(values, unknown):
    def draw(rng):
        drawn = rng.choice(np.asarray(values, dtype=object), ROWS)
        if unknown is not None:
            drawn[rng.random(ROWS) < 0.05] = unknown
        return drawn

    return draw


def from_transformers(uses, column):
    for part, position in uses:
        for step in [step for _, step in part.steps] if isinstance(part, Pipeline) else [part]:
            if hasattr(step, "vocabulary_"):
                raise unsupported(f"the column {column} holds text; pass --samples data.csv to compare the answers on")
            if draw := column_knowledge(step, position):
                return draw
    return None


def column_knowledge(part, index):
    """The range that a fitted preprocessing step has seen in its n-th column, or None."""
    if hasattr(part, "categories_"):
        values = [value for value in part.categories_[index].tolist() if value is not None and value == value]
        unseen = "a word never seen" if isinstance(values[0], str) else float(max(values) + 1)
        tolerant = getattr(part, "handle_unknown", "error") != "error"
        return choice(values, unseen if tolerant else None)
    if getattr(part, "data_min_", None) is not None:
        return uniform(part.data_min_[index], part.data_max_[index])
    if getattr(part, "max_abs_", None) is not None:
        return uniform(-part.max_abs_[index], part.max_abs_[index])
    center, scale = (getattr(part, name, None) for name in ("center_", "scale_"))
    center = getattr(part, "mean_", None) if center is None else center
    if np.ndim(center) == 1 or np.ndim(scale) == 1:
        if len(center if np.ndim(center) == 1 else scale) <= index:
            return None
        return normal(center[index] if np.ndim(center) == 1 else 0, scale[index] if np.ndim(scale) == 1 else 1)
    return None


def matrix_knowledge(estimator):
    """Functions of a column's index that give a draw or None, the better informed first."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else [estimator]
    for step in steps[:-1]:
        yield lambda index, step=step: column_knowledge(step, index)
        # What comes after a step sees its columns only where it leaves their number and order alone.
        if not (hasattr(step, "statistics_") and not getattr(step, "add_indicator", False)):
            return
    yield from estimator_knowledge(steps[-1])


def estimator_knowledge(estimator):
    ranges = {}
    for feature, threshold in thresholds(estimator):
        low, high = ranges.get(feature, (threshold, threshold))
        ranges[feature] = (min(low, threshold), max(high, threshold))
    yield lambda index: uniform(*ranges[index]) if index in ranges else None
    for name in ("_fit_X", "support_vectors_", "theta_", "cluster_centers_"):
        seen = getattr(estimator, name, None)
        if isinstance(seen, np.ndarray) and seen.ndim == 2 and seen.shape[0]:
            low, high = seen.min(axis=0), seen.max(axis=0)
            spread = 2 * np.sqrt(estimator.var_.max(axis=0)) if name == "theta_" else 0 * low
            yield lambda index, low=low - spread, high=high + spread: uniform(low[index], high[index])
    yield lambda index: column_knowledge(estimator, index) if hasattr(estimator, "categories_") else None


def thresholds(estimator):
    """(feature, threshold) of every split of every tree inside."""
    if hasattr(estimator, "tree_"):
        tree = estimator.tree_
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            if feature >= 0:
                yield int(feature), float(threshold)
    for stage in getattr(estimator, "_predictors", []):  # HistGradientBoosting
        for predictor in stage:
            for split in predictor.nodes[predictor.nodes["is_leaf"] == 0]:
                if np.isfinite(split["num_threshold"]):
                    yield int(split["feature_idx"]), float(split["num_threshold"])
    if hasattr(estimator, "tree_"):
        return
    inner = np.ravel(np.asarray(getattr(estimator, "estimators_", []), dtype=object))
    for one in inner:
        yield from thresholds(one)
