"""Run by convert.test.ts: real disagreements are rare, so the comparison gets answers that were altered."""

import unittest

import numpy as np
from agreement import agrees, compare

CLASSES = ["a", "b", "c"]


def answers(rows=2000, seed=3):
    probabilities = np.random.default_rng(seed).dirichlet([1, 1, 1], rows)
    return {"labels": np.array(CLASSES)[probabilities.argmax(axis=1)], "probabilities": probabilities}


class Classes(unittest.TestCase):
    def setUp(self):
        self.expected = answers()
        self.found = {
            "labels": self.expected["labels"].astype(object),
            "probabilities": self.expected["probabilities"].astype(np.float32),
        }

    def compare(self):
        return compare(self.expected, self.found, CLASSES)

    def flip(self, row):
        ranked = np.argsort(self.expected["probabilities"][row])
        self.found["labels"][row] = CLASSES[ranked[-2]]

    def test_rounding_to_float32_agrees(self):
        result = self.compare()
        self.assertEqual((result["rowsDiffering"], result["labelMismatches"], result["ties"]), (0, 0, 0))
        self.assertTrue(0 < result["maxAbsDiff"] < 1e-7)

    def test_labels(self):
        self.flip(5)
        self.flip(77)
        result = self.compare()
        self.assertEqual((result["rows"], result["labelMismatches"]), ([5, 77], 2))
        self.assertTrue(agrees(result))  # 0.1 %
        self.flip(78)
        self.assertFalse(agrees(self.compare()))

    def test_probabilities(self):
        self.found["probabilities"][9, 1] += 9e-6
        self.assertEqual(self.compare()["rows"], [])
        self.found["probabilities"][9, 1] += 3e-6
        result = self.compare()
        self.assertEqual(result["rows"], [9])
        self.assertAlmostEqual(result["maxAbsDiff"], 12e-6, delta=1e-6)

    def test_swapped_columns_disagree(self):
        self.found["probabilities"] = self.found["probabilities"][:, ::-1]
        self.assertFalse(agrees(self.compare()))

    def test_nan_is_a_difference_unless_both_have_it(self):
        self.found["probabilities"][4, 0] = np.nan
        self.assertEqual(self.compare()["rows"], [4])
        self.expected["probabilities"][4, 0] = np.nan
        self.assertEqual(self.compare()["rows"], [])

    def test_a_tie_is_no_difference_but_is_counted(self):
        for row in (1, 2, 3, 4):
            self.expected["probabilities"][row] = self.found["probabilities"][row] = [0.4, 0.2, 0.4]
            self.expected["labels"][row], self.found["labels"][row] = "a", "c"
        result = self.compare()
        self.assertEqual((result["rowsDiffering"], result["labelMismatches"], result["ties"]), (0, 4, 4))
        self.found["labels"][1] = "b"  # not one of the two
        result = self.compare()
        self.assertEqual((result["rows"], result["labelMismatches"], result["ties"]), ([1], 4, 3))

    def test_a_wrong_shape_is_an_error(self):
        self.found["probabilities"] = self.found["probabilities"][:, :2]
        with self.assertRaises(ValueError):
            self.compare()

    def test_few_rows_leave_no_room(self):
        for side in (self.expected, self.found):
            side.update({key: value[:10] for key, value in side.items()})
        self.flip(0)
        self.assertFalse(agrees(self.compare()))


class Values(unittest.TestCase):
    def test_relative_to_their_size(self):
        expected = {"values": np.array([1000.0, 2000.0, 0.0])}
        self.assertEqual(compare(expected, {"values": np.float32([[1000.05], [2000.1], [0.05]])})["rows"], [])
        self.assertEqual(compare(expected, {"values": np.float32([[1000.2], [2000.1], [0.2]])})["rows"], [0, 2])

    def test_infinity(self):
        expected = {"values": np.array([np.inf, 1.0])}
        self.assertEqual(compare(expected, {"values": np.array([np.inf, 1.0])})["rows"], [])
        self.assertEqual(compare(expected, {"values": np.array([1.0, 1.0])})["rows"], [0])

    def test_booleans_are_zero_and_one(self):
        self.assertEqual(compare({"labels": np.array([True, False])}, {"labels": np.array([1, 0])})["rows"], [])
        self.assertEqual(compare({"labels": np.array([1.5])}, {"labels": np.array([1])})["rows"], [0])


if __name__ == "__main__":
    unittest.main()
