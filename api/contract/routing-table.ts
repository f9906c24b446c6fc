/**
 * The routing table: which version of a model answers which request. One document for each ModelDeployment, made and signed by
 * the operator, obeyed by the pods of the stable version. Its schema is beside this file, for who writes one.
 */

export interface RoutingTable {
  /** `namespace/name` of the ModelDeployment; pods of another refuse it. */
  readonly resource: string;
  /** A pod refuses a table that is older than its own. */
  readonly generation: number;
  /** The Service leads to this version's pods. They obey the table; all others answer what they get. */
  readonly stable: { readonly version: string };
  /** Gets `weight` percent of the requests, the stable version the rest. Not together with `split`. */
  readonly candidate?: { readonly version: string; readonly weight: number };
  /** Percentages of any number of versions, the stable one among them; they sum to 100. */
  readonly split?: readonly VersionWeight[];
  /** The first rule whose headers a request has decides, before everything else. */
  readonly match?: readonly MatchRule[];
  /** Requests with the same value in this header go to the same version. */
  readonly sticky?: { readonly header: string };
  /** Gets a copy of `percent` of the requests after they were answered. Nobody sees what it makes of them. */
  readonly shadow?: { readonly version: string; readonly percent: number };
  /** `tcp://HOST:PORT` of internal ports, for each version that is named above but the stable one. */
  readonly addresses: Readonly<Record<string, readonly string[]>>;
  /** The versions that share the traffic. Another pair draws its sticky keys anew. */
  readonly salt: string;
}

export interface VersionWeight {
  readonly version: string;
  /** Percent. */
  readonly weight: number;
}

export interface MatchRule {
  /** Names in lower case; all of them must have exactly these values. */
  readonly header: Readonly<Record<string, string>>;
  readonly version: string;
}

/** What travels: in PUT /routing of the admin port, and in a file for boot. */
export interface SignedRoutingTable {
  readonly table: RoutingTable;
  /** Ed25519 over {@link canonicalJson} of the table, base64. */
  readonly signature: string;
  /** Which key has signed: SHA-256 over the public key's SPKI form, its first 16 hex digits. */
  readonly keyId: string;
}

/** What a pod says of its table: the answer to PUT /routing, and `routing` in GET /status. */
export interface RoutingStatus {
  /** Absent: it has none yet, and answers everything itself. */
  readonly generation?: number;
}

/** Carries the sticky key of a caller that has no request of a user in hand, such as a pipeline's step. Before `sticky.header`. */
export const stickyKeyHeader = 'x-levada-key';

/** JSON of one form only: no spaces, fields in the order of their names. What is signed. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((entry) => canonicalJson(entry)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const fields = Object.entries(value)
    .filter(([, field]) => field !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, field]) => `${JSON.stringify(name)}:${canonicalJson(field)}`);
  return `{${fields.join(',')}}`;
}
