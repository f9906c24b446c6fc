import { type RoutingTable, stickyKeyHeader, type VersionWeight } from '../../../api/contract/routing-table.ts';
import { Shares } from './shares.ts';
import { type Random, Stratified } from './stratified.ts';

/** What has decided: a rule of `match`, the request's key, or the weights alone. */
export type DecidedBy = 'match' | 'sticky' | 'weight';

export interface Decision {
  readonly version: string;
  readonly by: DecidedBy;
}

/** By name in lower case, as Node gives them. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

/** Says of each request which version is to answer it. */
export class Decider {
  readonly table: RoutingTable;
  readonly #rules: readonly { headers: readonly [name: string, value: string][]; decision: Decision }[];
  readonly #shares: Shares;
  readonly #byKey = new Map<string, Decision>();
  readonly #byWeight = new Map<string, Decision>();
  readonly #stickyHeader: string | undefined;
  readonly #shadow: Stratified | undefined;
  readonly #compare: Stratified | undefined;

  /** @param previous keeps its place in the stretches where the weights are the same as before */
  constructor(table: RoutingTable, random: Random, previous?: Decider) {
    this.table = table;
    this.#rules = (table.match ?? []).map(({ header, version }) => ({
      headers: Object.entries(header),
      decision: { version, by: 'match' },
    }));
    const shares = sharesOf(table);
    for (const { version } of shares) {
      this.#byKey.set(version, { version, by: 'sticky' });
      this.#byWeight.set(version, { version, by: 'weight' });
    }
    const unchanged = previous && sameShares(previous.table, table);
    this.#shares = unchanged ? previous.#shares : new Shares(shares, table.salt, random);
    this.#stickyHeader = table.sticky?.header;
    // Of two tables with the same share, the second goes on where the first was.
    const sampled = (name: 'shadow' | 'compare', kept: Stratified | undefined) => {
      const percent = table[name]?.percent;
      if (percent === undefined) return undefined;
      return kept && previous?.table[name]?.percent === percent ? kept : new Stratified(percent / 100, random);
    };
    this.#shadow = sampled('shadow', previous ? previous.#shadow : undefined);
    this.#compare = sampled('compare', previous ? previous.#compare : undefined);
  }

  decide(headers: Headers): Decision {
    for (const { headers: wanted, decision } of this.#rules) {
      if (wanted.every(([name, value]) => headers[name] === value)) return decision;
    }
    const key = this.keyOf(headers);
    return key === undefined
      ? (this.#byWeight.get(this.#shares.next()) as Decision)
      : (this.#byKey.get(this.#shares.of(key)) as Decision);
  }

  /** Whether the request that was answered is copied to the shadow. */
  shadows(): boolean {
    return this.#shadow?.take() ?? false;
  }

  /** Whether the stable version also scores the request that the candidate has answered. */
  compares(): boolean {
    return this.#compare?.take() ?? false;
  }

  /** An empty key is none: else all who have none would be on one side. */
  keyOf(headers: Headers): string | undefined {
    const told = headers[stickyKeyHeader];
    if (typeof told === 'string' && told !== '') return told;
    const own = this.#stickyHeader === undefined ? undefined : headers[this.#stickyHeader];
    return typeof own === 'string' && own !== '' ? own : undefined;
  }
}

/** The versions that requests are shared out to, whatever way the table says it. */
export function sharesOf({ stable, candidate, split }: RoutingTable): readonly VersionWeight[] {
  if (split) return split;
  const rest = { version: stable.version, weight: 100 - (candidate?.weight ?? 0) };
  return candidate ? [rest, candidate] : [rest];
}

function sameShares(a: RoutingTable, b: RoutingTable): boolean {
  const [before, after] = [sharesOf(a), sharesOf(b)];
  return (
    a.salt === b.salt &&
    before.length === after.length &&
    before.every(({ version, weight }, i) => version === after[i]?.version && weight === after[i]?.weight)
  );
}
