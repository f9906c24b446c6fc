import { expect, test } from 'vitest';
import { latencyBoundsMs } from '../../../api/contract/routing-table.ts';
import { LatencyHistogram, RecentP99 } from './latency.ts';

test('a value is in the first bucket whose bound it does not exceed', () => {
  const values = [0, 0.25, 0.2501, 1, 1.0001, 49.9, 250, 65_536, 65_537, 1e9];
  for (const value of values) {
    const histogram = new LatencyHistogram();
    histogram.observe(value);
    const expected = latencyBoundsMs.findIndex((bound) => value <= bound * (1 + 1e-9));
    expect(histogram.counts.indexOf(1), String(value)).toBe(expected < 0 ? latencyBoundsMs.length : expected);
  }
});

test('the p99 of late is that of one to two periods, and is computed once a second', () => {
  const recent = new RecentP99();
  expect(recent.at(0)).toBe(0);
  for (let i = 0; i < 98; i++) recent.observe(10, 0);
  recent.observe(400, 0);
  recent.observe(400, 0);
  expect(recent.at(0)).toBeCloseTo(412.3, 1); // the bound of the bucket; that nothing is known is not kept for a second
  for (let i = 0; i < 10_000; i++) recent.observe(10, 500);
  expect(recent.at(999)).toBeCloseTo(412.3, 1);
  expect(recent.at(1_000)).toBeCloseTo(10.4, 1);
  for (let i = 0; i < 1_000; i++) recent.observe(10, 31_000);
  expect(recent.at(32_000)).toBeCloseTo(10.4, 1);
  recent.observe(10, 62_000);
  expect(recent.at(63_000)).toBeCloseTo(10.4, 1);
  recent.observe(1, 200_000);
  expect(recent.at(200_000)).toBe(1);
});
