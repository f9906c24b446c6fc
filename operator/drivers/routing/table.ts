import { isDeepStrictEqual } from 'node:util';
import type { RoutingTable, SignedRoutingTable } from '../../../api/contract/routing-table.ts';
import type { RoutingPlan } from '../../plan/units.ts';

/** A process that takes or gives requests. */
export interface Peer {
  readonly version: string;
  /** As it knows itself: the host name of a pod, the id of a process that this machine runs. */
  readonly name: string;
  /** `tcp://HOST:PORT` of its internal port; absent: it is not ready to be asked. */
  readonly address?: string;
}

/**
 * The table that `plan` comes to with what runs now. Its generation grows with its content, and past what processes have.
 *
 * @param before the one that was made last
 * @param known generations that processes have: one may be greater than that of `before`, where what was kept is a restored one
 */
export function tableOf(
  resource: string,
  plan: RoutingPlan,
  peers: readonly Peer[],
  before: RoutingTable | undefined,
  known: readonly number[] = [],
): RoutingTable {
  const { stable, candidate, split = [], match = [], shadow, sticky } = plan;
  const named = [candidate, shadow, ...split, ...match].flatMap((part) => part?.version ?? []);
  const addresses: Record<string, string[]> = {};
  for (const version of [...new Set(named)].toSorted()) {
    if (version === stable.version) continue;
    addresses[version] = peers.flatMap((peer) => (peer.version === version ? (peer.address ?? []) : [])).toSorted();
  }
  // Keys count in one pod each; where there is but one, that is clear. Who is not ready gets no requests to count.
  const judges = peers.flatMap(({ version, name, address }) =>
    version === stable.version && address !== undefined ? name : [],
  );
  const content = {
    resource,
    ...plan,
    ...(sticky && candidate && judges.length > 1 && { judges: judges.toSorted() }),
    addresses,
  };
  const newest = Math.max(0, before?.generation ?? 0, ...known);
  // One that is older than what a process has would be refused, whatever it says: it is not the same.
  if (before && isDeepStrictEqual({ ...content, generation: newest }, before)) return before;
  return { ...content, generation: newest + 1 };
}

/** A table that was kept as text; `undefined` where it is none. */
export function readTable(text: string | undefined): SignedRoutingTable | undefined {
  if (text === undefined) return undefined;
  try {
    const signed = JSON.parse(text) as SignedRoutingTable;
    return typeof signed.table?.generation === 'number' ? signed : undefined;
  } catch {
    return undefined;
  }
}
