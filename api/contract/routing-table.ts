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
  /** Which rollout this is a step of, and since when its gates count: with another one, keys are trials anew. */
  readonly rollout?: string;
  /** Names of the ready pods that count keys as trials, each its part, so that no key counts in two. Absent: this one counts all. */
  readonly judges?: readonly string[];
  /** Gets a copy of `percent` of the requests after they were answered. Nobody sees what it makes of them. */
  readonly shadow?: { readonly version: string; readonly percent: number };
  /** The stable version also scores `percent` of the requests that the candidate has answered, and compares these outputs. */
  readonly compare?: { readonly outputs: readonly string[]; readonly percent: number };
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
  /** That of the table. */
  readonly candidate?: VersionWeight;
}

/** Files of the folder that a pod's configuration names: {@link SignedRoutingTable}, and the keys that may have signed it. */
export const routingFiles = { table: 'table.json', keys: 'keys.json' } as const;

/** The answer to GET /routing: what became of the requests of a stable pod, since its process began. */
export interface RoutingReport extends RoutingStatus {
  /** Of this process alone: with another one counts begin at 0. */
  readonly process: string;
  /** Milliseconds since it began to count: no two clocks are compared. */
  readonly countedMs: number;
  readonly counts: readonly RoutingCount[];
  /** Absent: the model has all outputs that the table wants compared. */
  readonly unknownOutputs?: UnknownOutputs;
}

export interface UnknownOutputs {
  /** Of `compare.outputs`: those that the model does not have. */
  readonly wanted: readonly string[];
  /** Those that it has, the first 20 of them. */
  readonly has: readonly string[];
}

/** Requests that one version was to answer, decided in one way. */
export interface RoutingCount {
  readonly version: string;
  readonly by: 'match' | 'sticky' | 'weight' | 'shadow';
  readonly requests: number;
  /** Those of them that it has not answered: whose fault it was, and why. */
  readonly failures: ReadonlyArray<{ readonly blame: string; readonly reason: string; readonly count: number }>;
  /** Decided by their key: how many different ones, and at how many of them the version has failed, at whichever request. */
  readonly keys?: { readonly n: number; readonly failures: number };
  /**
   * How many were served within {@link latencyBoundsMs}, each bound's own alone; the last entry is those above all. Of a key its
   * first request only.
   */
  readonly latency: readonly number[];
  /** In the same buckets: those that the candidate was late with and the stable version answered, by the time that it was given. */
  readonly late?: readonly number[];
  /** By output: those that the stable version has scored as well, and those of them whose outputs differ; of a key as above. */
  readonly compared?: Readonly<Record<string, { readonly n: number; readonly failures: number }>>;
}

/** The reason of a failure of a version that was not asked: the caller had too little time. */
export const noTime = 'no-time';

/** So fine that gates lose less than 4.5 % to a bucket's width, on each side. */
export const latencyBucketsPerOctave = 16;

/** Upper bounds of {@link RoutingCount.latency}: 0.25 ms, each 2^(1/16) times the one before, to 65.5 s. */
export const latencyBoundsMs: readonly number[] = Array.from(
  { length: 18 * latencyBucketsPerOctave + 1 },
  (_, i) => 0.25 * 2 ** (i / latencyBucketsPerOctave),
);

/** Carries the sticky key of a caller that has no request of a user in hand, such as a pipeline's step. Before `sticky.header`. */
export const stickyKeyHeader = 'x-levada-key';

/**
 * Header of an answer that is a trial of a rollout: names the rollout (`RoutingTable.rollout`). It is there where the version that was
 * drawn has answered: not what a rule has decided, nor what the stable version answers instead; of a key its first request.
 */
export const trialHeader = 'x-levada-trial';

/** What became of the trials of one version of a model at a step that asks it, since its process began. */
export interface StepTrials {
  /** As {@link trialHeader} says. */
  readonly rollout: string;
  /** That has answered. */
  readonly version: string;
  /** Events that have ended: handled, or dead. */
  readonly n: number;
  /** Those of them that are dead letters. */
  readonly dead: number;
}

/** JSON of one form only: no spaces, fields in the order of their names. What is signed. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((entry) => canonicalJson(entry)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  let text = '';
  for (const name of Object.keys(value).sort()) {
    const field = (value as Record<string, unknown>)[name];
    if (field !== undefined) text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${canonicalJson(field)}`;
  }
  return `{${text}}`;
}
