import { describe, expect, it } from 'vitest';
import { latencyBoundsMs } from '../../api/contract/routing-table.ts';
import { countAbove, type Histogram, quantileOf } from '../../operator/plan/rollout/histogram.ts';
import type { Traffic } from '../../operator/plan/rollout/types.ts';
import { LatencyHistogram } from '../../runtime/inference/routing/latency.ts';
import { mean } from '../bench/statistics.ts';
import { cases, upperBound } from './cases.ts';
import { normalQuantile, normalTail, Random } from './random.ts';
import { casesTable, checkAlpha, runCase } from './sim.ts';
import { drawTraffic, medianOf, requestsPerSecond, sigma, slowerThan, slowMs } from './traffic.ts';

// `npm run sim` has 5,000 seeds a case; these are few, and always the same.
const seeds = 200;
const seed = 1;

describe('what becomes of a candidate', () => {
  it.each(cases)('$name: $bar', (one) => {
    const results = runCase(one, seeds, seed);
    expect(results.map(({ who }) => who)).toEqual(['Levada', 'Flagger’s rule', 'Argo Rollouts’ rule']);
    expect(results[0]?.holds, casesTable(results)).toBe(true);
  });

  it('the table has a bar for ours, and none for others', () => {
    const dead = cases.find(({ name }) => name === 'dead');
    const lines = casesTable(dead ? runCase(dead, 3, seed) : []).split('\n');
    expect(lines.map((line) => line.split('|').slice(1, 4).join('|').replace(/\s+/g, ' ').trim())).toEqual([
      '| candidate | rule',
      expect.any(String),
      'PASS | dead | Levada',
      '| dead | Flagger’s rule',
      '| dead | Argo Rollouts’ rule',
    ]);
  });
});

it('a test rejects what is at the limit as seldom as its α says; requests of few keys are no trials', () => {
  const results = checkAlpha(300, seed);
  expect(results.filter(({ holds }) => holds === false)).toEqual([]);
  const together = results.find(({ holds }) => holds === undefined);
  expect((together?.rejected ?? 0) / 300).toBeGreaterThan(0.3);
});

describe('traffic', () => {
  it('by the window is distributed as request by request', () => {
    const candidate = { errors: 0.04, failing: 0.02, slower: 1.3, flips: 0.1, stableP99: 50 };
    const windows = 1_000;
    const [weight, seconds] = [25, 15];
    const drawn = Array.from({ length: windows }, (_, i) => {
      const { counted } = drawTraffic(new Random(i), candidate, weight, seconds);
      return {
        failed: counted.answers[1]?.count ?? 0,
        both: counted.answers[2]?.count ?? 0,
        ...timesOf(counted.latency),
        differ: counted.compared.label.failures,
      };
    });
    const single = Array.from({ length: windows }, (_, i) => oneByOne(new Random(i + 1e6), candidate, weight, seconds));
    for (const key of ['failed', 'both', 'slow', 'quantile', 'differ'] as const) {
      const [a, b] = [drawn, single].map((rows) => rows.map((row) => row[key]));
      const error = Math.sqrt((variance(a ?? []) + variance(b ?? [])) / windows);
      expect(Math.abs(mean(a ?? []) - mean(b ?? [])), key).toBeLessThan(4 * error);
      expect(variance(a ?? []) / variance(b ?? []), key).toBeGreaterThan(0.8);
      expect(variance(a ?? []) / variance(b ?? []), key).toBeLessThan(1.25);
    }
  });

  it('has stable’s p99 where it is said to be', () => {
    expect(slowerThan(50, 50)).toBeCloseTo(0.01, 5);
    expect(slowerThan(80, 80)).toBeCloseTo(0.01, 5);
  });
});

const variance = (values: readonly number[]): number => {
  const middle = mean(values);
  return mean(values.map((value) => (value - middle) ** 2));
};

/** The same window, a draw for each request. */
function oneByOne(random: Random, candidate: Parameters<typeof drawTraffic>[1], weight: number, seconds: number) {
  const total = requestsPerSecond * seconds;
  const n = Math.floor((total * weight) / 100 + random.uniform());
  const happens = (p: number) => random.uniform() < p;
  const median = medianOf(candidate.stableP99);
  const times = { stable: new LatencyHistogram(), candidate: new LatencyHistogram() };
  const time = (side: LatencyHistogram, slower: number) =>
    side.observe(median * slower * Math.exp(sigma * random.normal()));
  for (let i = 0; i < total - n; i++) time(times.stable, 1);
  const seen = { failed: 0, both: 0, differ: 0 };
  for (let i = 0; i < n; i++) {
    if (happens(candidate.failing)) seen.both++;
    else if (happens(candidate.errors)) {
      if (happens(0.002)) seen.both++;
      else seen.failed++;
    } else {
      time(times.candidate, candidate.slower);
      if (happens(0.2) && happens(candidate.flips)) seen.differ++;
    }
  }
  const histogram = ({ counts }: LatencyHistogram): Histogram =>
    counts.map((count, i) => ({ le: latencyBoundsMs[i] ?? Number.POSITIVE_INFINITY, count }));
  return { ...seen, ...timesOf({ stable: histogram(times.stable), candidate: histogram(times.candidate) }) };
}

/** What the latency gate makes of a window. */
function timesOf({ stable, candidate }: NonNullable<Traffic['latency']>) {
  const quantile = quantileOf(stable, 0.99) ?? 0;
  return { quantile, slow: countAbove(candidate, slowMs(quantile)) };
}

describe('draws', () => {
  it.each([
    [10, 0.3],
    [750, 0.002],
    [750, 0.1],
    [750, 0.93],
    [100_000, 0.01],
  ])('binomial of %d at %d: mean and variance', (n, p) => {
    const random = new Random(n);
    const values = Array.from({ length: 4_000 }, () => random.binomial(n, p));
    const sd = Math.sqrt(n * p * (1 - p));
    expect(Math.abs(mean(values) - n * p)).toBeLessThan((4 * sd) / Math.sqrt(4_000));
    expect(variance(values) / sd ** 2).toBeGreaterThan(0.9);
    expect(variance(values) / sd ** 2).toBeLessThan(1.1);
  });

  it('beta, geometric: means', () => {
    const random = new Random(3);
    expect(mean(Array.from({ length: 4_000 }, () => random.beta(3, 9)))).toBeCloseTo(0.25, 1.5);
    expect(mean(Array.from({ length: 4_000 }, () => random.geometric(0.1)))).toBeGreaterThan(9.4);
    expect(mean(Array.from({ length: 4_000 }, () => random.geometric(0.1)))).toBeLessThan(10.6);
    expect([random.binomial(5, 0), random.binomial(5, 1), random.binomial(0, 0.5)]).toEqual([0, 5, 0]);
  });

  it('the normal distribution', () => {
    expect(normalTail(0)).toBeCloseTo(0.5, 6);
    expect(normalTail(2.3263478740408408)).toBeCloseTo(0.01, 8);
    expect(normalTail(-1.959963984540054)).toBeCloseTo(0.975, 7);
    expect(normalQuantile(0.99)).toBeCloseTo(2.3263478740408408, 5);
  });

  it('bounds as Clopper and Pearson have them', () => {
    expect(upperBound(0, 100)).toBeCloseTo(0.029513, 5);
    expect(upperBound(5, 100)).toBeCloseTo(0.102253, 4);
    expect(upperBound(0, 5_000)).toBeCloseTo(0.000599, 5);
    expect(upperBound(3, 3)).toBe(1);
  });
});
