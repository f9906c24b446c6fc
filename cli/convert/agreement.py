"""Whether two sets of answers to the same rows are the same."""

import numpy as np

PROBABILITIES = 1e-5  # absolute
VALUES = 1e-4  # relative
TIE = 1e-6  # float32 does not tell such probabilities apart
ALLOWED = 0.001  # share of rows that may differ: float32 puts a few on the other side of a split


def compare(expected, found, classes=()):
    """
    `expected` and `found` hold `labels`, `probabilities` or `values`, as arrays; what is missing in `expected` is not
    compared. Gives the counts, and the rows that differ.

    `classes` are the labels in the order of the probabilities' columns. A forest's votes are often equal, and then the
    label hangs on the last bit of a sum: where scikit-learn itself gives two classes the same probability, either label
    is right. Such rows are counted as ties, not as differences.
    """
    differs = np.zeros(len(next(iter(expected.values()))), dtype=bool)
    ties = differs
    label_mismatches, largest = 0, 0.0
    if "labels" in expected:
        wrong = same_type(expected["labels"]) != same_type(found["labels"])
        label_mismatches = int(wrong.sum())
        if "probabilities" in expected:
            ties = wrong & tied(expected["probabilities"], found["labels"], classes)
        differs |= wrong & ~ties
    for name in ("probabilities", "values"):
        if name not in expected:
            continue
        wanted, got = (as_rows(answers[name]) for answers in (expected, found))
        if wanted.shape != got.shape:
            raise ValueError(f"{name} of shape {got.shape}, expected {wanted.shape}")
        distance = np.abs(wanted - got)
        distance[(wanted == got) | (np.isnan(wanted) & np.isnan(got))] = 0  # infinities, NaN
        distance[np.isnan(distance)] = np.inf
        differs |= (distance > allowed_distance(name, wanted)).any(axis=1)
        largest = max(largest, float(distance.max(initial=0)))
    rows = np.flatnonzero(differs)
    return {
        "rowsCompared": len(differs),
        "rowsDiffering": len(rows),
        "labelMismatches": label_mismatches,
        "ties": int(ties.sum()),
        "maxAbsDiff": largest,
        "rows": rows.tolist(),
    }


def allowed_distance(name, wanted):
    if name == "probabilities":
        return PROBABILITIES
    # Relative to the size of the answers: a sum of large terms that comes out near zero keeps their rounding error.
    finite = np.where(np.isfinite(wanted), np.abs(wanted), 0)
    return VALUES * np.maximum(finite, finite.mean(axis=0, keepdims=True))


def tied(probabilities, labels, classes):
    """Whether the label of each row has, by `probabilities`, a class as likely as the likeliest."""
    chosen = same_type(labels)[:, None] == same_type(classes)[None, :]
    share = np.where(chosen, probabilities, 0).sum(axis=1)
    return np.max(probabilities, axis=1) - share <= TIE


def agrees(result):
    return result["rowsDiffering"] <= ALLOWED * result["rowsCompared"]


def same_type(labels):
    labels = np.asarray(labels).reshape(-1)
    return labels.astype(np.float64) if labels.dtype.kind in "iubf" else labels.astype(str)


def as_rows(values):
    values = np.array(values, dtype=np.float64)
    return values.reshape(len(values), -1)
