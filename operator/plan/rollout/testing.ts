import { decideRollout } from './rollout.ts';
import { timeOf } from './time.ts';
import type {
  Answers,
  Decision,
  Observed,
  ObservedVersion,
  RolloutSpec,
  RolloutStatus,
  Traffic,
  Wanted,
} from './types.ts';

export const begun = 1_900_000_000_000;

/** Two steps of a minute and of five, an error rate, and ten minutes to go back. */
export const spec: RolloutSpec = {
  interval: '15s',
  steps: [
    { weight: 5, hold: '1m' },
    { weight: 50, hold: '5m' },
  ],
  minRequests: 100,
  progressDeadline: '2h',
  promotionHold: '10m',
  gates: [{ errorRate: { max: 0.01 } }],
  onFailure: 'Rollback',
};

export const wanted = (change: Partial<Wanted> = {}): Wanted => ({
  serve: 'v2',
  versions: ['v1', 'v2', 'v3'],
  rollout: spec,
  ...change,
});

export const ready: ObservedVersion = { ready: 1, fullCapacity: true };

/** `requests` of the candidate, of which `failures` are its fault. */
export const answers = (requests: number, failures = 0): Answers[] => [
  { candidate: 'Ok', count: requests - failures },
  { candidate: 'ServerError', stable: 'Ok', count: failures },
];

/** What acts on decisions as an operator and its pods do: at once, unless it is told otherwise. */
export class World {
  wanted: Wanted = wanted();
  status: RolloutStatus | undefined;
  now = begun;
  front: string | undefined = 'v1';
  versions: Record<string, ObservedVersion> = { v1: ready, v2: ready, v3: ready };
  weight = 0;
  readonly decisions: Decision[] = [];

  get decision(): Decision {
    const last = this.decisions.at(-1);
    if (!last) throw new Error('nothing was decided yet');
    return last;
  }

  get id(): string {
    const { status } = this;
    if (!status || status.phase === 'Stable') throw new Error('no rollout is under way');
    return status.id;
  }

  observed(traffic?: Partial<Traffic>): Observed {
    const candidate = this.status && this.status.phase !== 'Stable' ? this.status.candidate : '';
    return {
      ...(this.front !== undefined && { front: this.front }),
      versions: this.versions,
      appliedWeight: this.weight,
      ...(traffic && {
        traffic: { candidate, until: timeOf(this.now), requests: 0, answers: [], ...traffic },
      }),
    };
  }

  /** Time passes, requests come, and it is decided; `lost`: the operator dies before it has written the status. */
  look(options: { after?: number; traffic?: Partial<Traffic>; lost?: boolean } = {}): Decision {
    this.now += options.after ?? 15_000;
    const observed = this.observed(options.traffic);
    const decision = decideRollout(this.wanted, this.status, observed, timeOf(this.now));
    this.front = decision.front;
    this.weight = decision.weight;
    if (options.lost) return decision;
    this.decisions.push(decision);
    this.status = decision.status;
    return decision;
  }

  /** Looks, with `requests` each of which `failures` fail, until `phase`, or as often as is allowed. */
  until(phase: Decision['phase'], requests = 100, failures = 0, most = 200): this {
    for (let i = 0; i < most && this.decisions.at(-1)?.phase !== phase; i++) {
      this.look({ traffic: { requests, answers: answers(requests, failures) } });
    }
    if (this.decision.phase !== phase) throw new Error(`never ${phase}: ${JSON.stringify(this.status)}`);
    return this;
  }

  say(verb: string, id = this.id): void {
    this.wanted = { ...this.wanted, command: `${verb}/${id}` };
  }

  get events(): string[] {
    return this.decisions.flatMap(({ events }) => events.map(({ reason }) => reason));
  }
}
