import { describe, expect, it } from 'vitest';
import { routingTable } from '../../../api/contract/routing-table.schema.ts';
import type { RoutingPlan } from '../../plan/units.ts';
import { newSigningKey, signRoutingTable } from './signing.ts';
import { readTable, tableOf } from './table.ts';

const plan: RoutingPlan = { stable: { version: 'v1' }, candidate: { version: 'v2', weight: 5 }, salt: 'v1/v2' };
const peers = [
  { version: 'v2', name: 'b', address: 'tcp://10.0.0.2:8082' },
  { version: 'v2', name: 'a', address: 'tcp://10.0.0.1:8082' },
  { version: 'v2', name: 'c' },
  { version: 'v1', name: 'z', address: 'tcp://10.0.0.9:8082' },
  { version: 'v1', name: 'y', address: 'tcp://10.0.0.8:8082' },
];

describe('a routing table', () => {
  it('has the addresses of whom it names, in one order, and not those that are not ready or the stable one', () => {
    const table = tableOf('default/iris', plan, peers, undefined);
    expect(table).toEqual({
      ...plan,
      resource: 'default/iris',
      generation: 1,
      addresses: { v2: ['tcp://10.0.0.1:8082', 'tcp://10.0.0.2:8082'] },
    });
    expect(routingTable.parse(table)).toEqual(table);
  });

  it('is the same one while nothing changes, and then the next', () => {
    const first = tableOf('default/iris', plan, peers, undefined);
    expect(tableOf('default/iris', plan, peers.toReversed(), first)).toBe(first);
    expect(tableOf('default/iris', { ...plan, salt: 'x' }, peers, first).generation).toBe(2);
    expect(tableOf('default/iris', plan, [], first)).toMatchObject({ generation: 2, addresses: { v2: [] } });
  });

  it('is newer than what any process has, also when the last one was lost', () => {
    expect(tableOf('default/iris', plan, peers, undefined, [3, 41, 7]).generation).toBe(42);
  });

  it('is made anew where what was kept is older than what a process has: it would be refused', () => {
    const restored = tableOf('default/iris', plan, peers, undefined);
    expect(tableOf('default/iris', plan, peers, restored, [1])).toBe(restored);
    expect(tableOf('default/iris', plan, peers, restored, [1, 41])).toEqual({ ...restored, generation: 42 });
    expect(tableOf('default/iris', { ...plan, salt: 'x' }, peers, restored, [41]).generation).toBe(42);
  });

  it('shares out who counts keys, where several are ready', () => {
    const sticky = { ...plan, sticky: { header: 'x-user-id' } };
    expect(tableOf('default/iris', sticky, peers, undefined).judges).toEqual(['y', 'z']);
    expect(tableOf('default/iris', sticky, peers.slice(0, 4), undefined).judges).toBeUndefined();
    const unready = { version: 'v1', name: 'x' };
    expect(tableOf('default/iris', sticky, [...peers, unready], undefined).judges).toEqual(['y', 'z']);
    expect(tableOf('default/iris', plan, peers, undefined).judges).toBeUndefined();
  });

  it('is read as it was kept; anything else is none', () => {
    const signed = signRoutingTable(tableOf('default/iris', plan, peers, undefined), newSigningKey());
    expect(readTable(JSON.stringify(signed))).toEqual(signed);
    for (const text of [undefined, '', '{', '{}', 'null', '{"table":{}}']) expect(readTable(text)).toBeUndefined();
  });
});
