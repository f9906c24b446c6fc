import { describe, expect, test } from 'vitest';
import type { RoutingTable } from '../../../api/contract/routing-table.ts';
import { Decider } from './decide.ts';

const table = (parts: Partial<RoutingTable> = {}): RoutingTable => ({
  resource: 'default/m',
  generation: 1,
  stable: { version: 'v1' },
  candidate: { version: 'v2', weight: 5 },
  addresses: { v2: ['tcp://v2:8082'], v3: ['tcp://v3:8082'] },
  salt: 'v1/v2',
  ...parts,
});

const tally = (decider: Decider, count: number, headers = {}) => {
  const counts: Record<string, number> = {};
  for (let i = 0; i < count; i++) {
    const { version } = decider.decide(headers);
    counts[version] = (counts[version] ?? 0) + 1;
  }
  return counts;
};

describe('which version answers', () => {
  test('without a candidate: the stable one', () => {
    const { candidate: _, ...alone } = table();
    const decider = new Decider(alone, Math.random);
    expect(tally(decider, 100)).toEqual({ v1: 100 });
    expect(decider.decide({ 'x-levada-key': 'a' })).toEqual({ version: 'v1', by: 'sticky' });
  });

  test.each([
    [0, 0],
    [100, 1_000],
  ])('a candidate at %d %% gets %d of 1,000', (weight, expected) => {
    const decider = new Decider(table({ candidate: { version: 'v2', weight } }), Math.random);
    expect(tally(decider, 1_000)['v2'] ?? 0).toBe(expected);
  });

  test('rules of match come first, in their order; all headers of one have to be there', () => {
    const match = [
      { header: { 'x-beta': 'true', 'x-team': 'a' }, version: 'v3' },
      { header: { 'x-beta': 'true' }, version: 'v2' },
    ];
    const decider = new Decider(table({ match, candidate: { version: 'v2', weight: 0 } }), Math.random);
    const decide = (headers: Record<string, string>) => decider.decide(headers).version;
    expect(decide({ 'x-beta': 'true', 'x-team': 'a', 'x-levada-key': 'k' })).toBe('v3');
    expect(decide({ 'x-beta': 'true', 'x-team': 'b' })).toBe('v2');
    expect(decide({ 'x-beta': 'True' })).toBe('v1');
    expect(decider.decide({ 'x-beta': 'true' }).by).toBe('match');
  });

  test('a key is on one side, whether the header of users or the one of pipelines carries it', () => {
    const sticky = { header: 'x-user-id' };
    const decider = new Decider(table({ sticky, candidate: { version: 'v2', weight: 50 } }), Math.random);
    const sides = Array.from({ length: 200 }, (_, i) => {
      const first = decider.decide({ 'x-user-id': `u${i}` });
      expect(first.by).toBe('sticky');
      expect(decider.decide({ 'x-user-id': `u${i}` })).toBe(first);
      expect(decider.decide({ 'x-levada-key': `u${i}`, 'x-user-id': 'another' })).toBe(first);
      return first.version;
    });
    expect(new Set(sides)).toEqual(new Set(['v1', 'v2']));
  });

  test('no header, an empty one, and several values of x-levada-key: shared out by weight', () => {
    const decider = new Decider(table({ sticky: { header: 'x-user-id' } }), Math.random);
    for (const headers of [{}, { 'x-user-id': '' }, { 'x-levada-key': ['a', 'b'] }]) {
      expect(decider.decide(headers).by).toBe('weight');
    }
  });

  test('a header that is not `sticky` is no key', () => {
    expect(new Decider(table(), Math.random).decide({ 'x-user-id': 'u' }).by).toBe('weight');
  });
});

describe('the next table', () => {
  test('with the same weights goes on where the last one was: the split stays exact', () => {
    let decider = new Decider(table(), Math.random);
    const counts = { v1: 0, v2: 0 };
    for (let n = 1; n <= 1_000; n++) {
      counts[decider.decide({}).version as 'v1' | 'v2']++;
      expect(Math.abs(counts.v2 - n * 0.05)).toBeLessThanOrEqual(1 + 1e-9);
      decider = new Decider(table({ generation: n + 1 }), Math.random, decider);
    }
  });

  test('with other weights begins anew', () => {
    const before = new Decider(table({ candidate: { version: 'v2', weight: 0 } }), Math.random);
    expect(tally(before, 1_000)).toEqual({ v1: 1_000 });
    const after = new Decider(table({ candidate: { version: 'v2', weight: 50 } }), Math.random, before);
    expect(Math.abs((tally(after, 100)['v2'] ?? 0) - 50)).toBeLessThanOrEqual(1);
  });
});

test('the shadow gets its share of what was answered', () => {
  const decider = new Decider(table({ shadow: { version: 'v3', percent: 10 } }), Math.random);
  const taken = Array.from({ length: 1_000 }, () => decider.shadows()).filter(Boolean).length;
  expect(Math.abs(taken - 100)).toBeLessThanOrEqual(1);
  expect(new Decider(table(), Math.random).shadows()).toBe(false);
});
