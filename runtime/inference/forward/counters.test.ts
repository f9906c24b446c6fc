import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { RoutingCounters } from './counters.ts';

function counters() {
  const registry = new Registry();
  const all = new RoutingCounters(registry);
  return {
    all,
    metrics: () => registry.metrics(),
    sticky: () => all.report({}).counts.find(({ by }) => by === 'sticky'),
  };
}

test('a key is one trial with all its requests: it fails once, by whichever of them the candidate fails at', () => {
  const { all, sticky } = counters();
  for (const key of ['a', 'b', 'c']) all.served('v2', 'sticky', 5, key);
  expect(sticky()?.keys).toEqual({ n: 3, failures: 0 });
  for (let i = 0; i < 10; i++) all.failed('v2', 'sticky', 'candidate', 'unreachable', 'a');
  expect(sticky()?.keys).toEqual({ n: 3, failures: 1 });
  all.failed('v2', 'sticky', 'client', 'error', 'b');
  all.failed('v2', 'sticky', 'unclear', 'late', 'b');
  expect(sticky()?.keys).toEqual({ n: 3, failures: 1 });
  all.failed('v2', 'sticky', 'candidate', 'late', 'd');
  all.served('v2', 'sticky', 5, 'd');
  expect(sticky()?.keys).toEqual({ n: 4, failures: 2 });
  all.forgetKeys();
  all.served('v2', 'sticky', 5, 'a');
  expect(sticky()?.keys).toEqual({ n: 5, failures: 2 });
});

test('so many keys are remembered, and no more: those fail, others are no trials', () => {
  const { all, sticky } = counters();
  for (let i = 0; i < 200_010; i++) all.served('v2', 'sticky', 5, `key-${i}`);
  const { n = 0 } = sticky()?.keys ?? {};
  expect(n).toBe(200_000);
  all.failed('v2', 'sticky', 'candidate', 'late', 'key-1');
  all.failed('v2', 'sticky', 'candidate', 'late', 'another');
  expect(sticky()?.keys).toEqual({ n, failures: 1 });
});

test('gates see the time of a key’s first request, people those of all', async () => {
  const { all, metrics, sticky } = counters();
  for (let i = 0; i < 10; i++) all.served('v2', 'sticky', 5, 'a');
  all.served('v2', 'sticky', 5, 'b');
  all.served('v2', 'sticky', 5); // another pod counts this key
  expect(sticky()?.latency.reduce((sum, count) => sum + count, 0)).toBe(2);
  expect(await metrics()).toContain('levada_routing_served_seconds_count{target="v2",by="sticky"} 12');
  for (let i = 0; i < 3; i++) all.served('v1', 'weight', 5);
  const weight = all.report({}).counts.find(({ by }) => by === 'weight');
  expect(weight?.latency.reduce((sum, count) => sum + count, 0)).toBe(3);
});

test('what a version was late with is timed by what it was given, of a key its first request, and only where it is to blame', () => {
  const { all, sticky } = counters();
  const late = (by: 'sticky' | 'weight') => all.report({}).counts.find((one) => one.by === by)?.late;
  const count = (by: 'sticky' | 'weight') => late(by)?.reduce((sum, one) => sum + one, 0);
  all.failed('v2', 'weight', 'candidate', 'unreachable', undefined, 300);
  all.failed('v2', 'weight', 'unclear', 'late', undefined, 300);
  all.failed('v2', 'weight', 'candidate', 'late');
  expect(late('weight'), 'nothing to say').toBeUndefined();
  for (let i = 0; i < 3; i++) all.failed('v2', 'weight', 'candidate', 'late', undefined, 300);
  expect(count('weight')).toBe(3);
  for (let i = 0; i < 3; i++) all.failed('v2', 'sticky', 'candidate', 'late', 'a', 300);
  all.served('v2', 'sticky', 5, 'b');
  all.failed('v2', 'sticky', 'candidate', 'late', 'b', 300);
  expect(count('sticky')).toBe(1);
  expect(sticky()?.keys).toEqual({ n: 2, failures: 2 });
});

test('what is scraped has a quarter of the buckets, and counts in them all that is quicker', async () => {
  const { all, metrics } = counters();
  for (const ms of [0.2, 0.26, 0.29, 0.31, 400]) all.served('v2', 'weight', ms);
  const text = await metrics();
  const buckets = [...text.matchAll(/_bucket\{.*le="(.+)"\} (\d+)/g)].map(([, le, count]) => [
    Number(le),
    Number(count),
  ]);
  expect(buckets).toHaveLength(18 * 4 + 1 + 1);
  expect(buckets.slice(0, 3).map(([, count]) => count)).toEqual([1, 3, 4]);
  expect(buckets.at(-2)).toEqual([65.536, 5]);
});
