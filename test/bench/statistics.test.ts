import { expect, test } from 'vitest';
import { generator, median, percentile, rotated, shuffled, spread } from './statistics.ts';

test('percentile is the nearest rank', () => {
  const values = [5, 1, 4, 2, 3];
  expect(percentile(values, 0.5)).toBe(3);
  expect(percentile(values, 0.99)).toBe(5);
  expect(percentile(values, 0)).toBe(1);
  expect(percentile([7], 0.99)).toBe(7);
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  expect(percentile(hundred, 0.99)).toBe(99);
  expect(percentile(hundred, 1)).toBe(100);
  expect(() => percentile([], 0.5)).toThrow('nothing');
});

test('median of odd and even counts', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([9])).toBe(9);
  expect(spread([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
});

test('one seed gives one order', () => {
  const values = Array.from({ length: 20 }, (_, i) => i);
  const first = shuffled(values, generator(7));
  expect(first).toEqual(shuffled(values, generator(7)));
  expect(first).not.toEqual(shuffled(values, generator(8)));
  expect(first.toSorted((a, b) => a - b)).toEqual(values);
});

test('rounds begin at different places and hold everything', () => {
  const values = ['a', 'b', 'c', 'd', 'e', 'f'];
  const firsts = [0, 1, 2].map((round) => rotated(values, round, 3)[0]);
  expect(firsts).toEqual(['a', 'c', 'e']);
  expect(rotated(values, 1, 3).toSorted()).toEqual(values);
});
