import type { Outcome } from '../../../api/contract/model-events.ts';
import type { UnknownOutputs } from '../../../api/contract/routing-table.ts';
import type { phases, verdicts } from '../../../api/v1alpha1/rollout.ts';
import type { Counts } from './eprocess.ts';
import type { Histogram } from './histogram.ts';

/**
 * What a rollout is decided from, and what is decided. The names are those of `spec.rollout` and `status.rollout` of a
 * ModelDeployment (api/v1alpha1/rollout.ts). Times are RFC 3339 texts, durations as users write them.
 */

export interface RolloutSpec {
  /** How often the gates are looked at. */
  readonly interval: string;
  /** None: promoted as soon as it is loaded. */
  readonly steps: readonly Step[];
  /** Requests that the candidate has answered in a step before the next one. Keeps from advancing, never from rolling back. */
  readonly minRequests: number;
  /** Without progress for so long, holds and what waits for a person not counted: `onFailure`. */
  readonly progressDeadline: string;
  /** How long the old version stays ready after the new one has taken over. */
  readonly promotionHold: string;
  readonly gates: readonly Gate[];
  readonly onFailure: 'Rollback' | 'Pause';
}

export interface Step {
  /** Percent of the requests that the candidate answers. */
  readonly weight: number;
  readonly hold: string;
  /** When the step is over, a person says whether it goes on. */
  readonly approval?: boolean;
}

/** Exactly one member. Limits lie between 0 and 1, both excluded. */
export type Gate =
  | { readonly errorRate: { readonly max: number } }
  | { readonly latency: { readonly quantile: number; readonly maxRatio: number } }
  | { readonly disagreement: { readonly output: string; readonly max: number } }
  | { readonly deadLetters: { readonly pipeline: string; readonly step: string; readonly maxRate: number } };

/** What the resource says. */
export interface Wanted {
  /** The version that is to serve. */
  readonly serve: string;
  /** Names of all declared versions. */
  readonly versions: readonly string[];
  /** Absent: it is switched as soon as the version is loaded. */
  readonly rollout?: RolloutSpec;
  /** The annotation `levada.dev/rollout-command`. */
  readonly command?: string;
  /** By name of a gate: why it refers to nothing that could be counted. */
  readonly broken?: Readonly<Record<string, string>>;
}

/** What is there. */
export interface Observed {
  /** The version that the Service leads to, as it was last seen. */
  readonly front?: string;
  /** By name. A version of which nothing is known is absent. */
  readonly versions: Readonly<Record<string, ObservedVersion>>;
  /** Percent that goes to the candidate in every ready pod of the stable version: what all of them have acknowledged. */
  readonly appliedWeight?: number;
  /** What came of the candidate's requests since `status.rollout.countedUntil`. */
  readonly traffic?: Traffic;
}

export interface ObservedVersion {
  /** `sha256:<hex>` of what is loaded. */
  readonly digest?: string;
  readonly ready: number;
  /** As many are ready as it is to have when it takes all of the traffic. */
  readonly fullCapacity: boolean;
  /** Why it cannot be loaded. */
  readonly failure?: string;
}

/**
 * What was counted in one window of time; never what an earlier window had. What a key has decided is one trial with all of that
 * key's requests, which fails when one of them does: one user's requests fail together, and a thousand of them are not a thousand
 * trials. It is timed and compared by its first request.
 */
export interface Traffic {
  /** Whose: what was counted for another one is left out. */
  readonly candidate: string;
  /** End of the window. Counts up to a time that has been counted already are left out. */
  readonly until: string;
  /** Requests that went to the candidate, whatever came of them. */
  readonly requests: number;
  readonly answers: readonly Answers[];
  /**
   * Requests that were answered well, timed in the pods that serve. While those of the stable version are too few to compare with,
   * those of the candidate are absent, and come in a later window: they may be of several, both sides of the same time.
   */
  readonly latency?: {
    readonly stable: Histogram;
    readonly candidate: Histogram;
    /** What the candidate was late with, and the stable version answered: by the time that it was given, the least that it took. */
    readonly late?: Histogram;
  };
  /** By output: requests that both sides have scored, and those of them whose outputs differ. */
  readonly compared?: Readonly<Record<string, { readonly n: number; readonly failures: number }>>;
  /** Absent: the stable version has all outputs that are to be compared. */
  readonly unknownOutputs?: UnknownOutputs;
  /** By `pipeline/step`: events that were scored, and those of them that became dead letters. */
  readonly deadLetters?: Readonly<Record<string, { readonly candidate: Counts; readonly stable: Counts }>>;
}

/** How many requests (or keys) of the candidate's share ended in the same way. */
export interface Answers {
  readonly candidate: CandidateAnswer;
  /** Absent: the stable side was not asked. */
  readonly stable?: StableAnswer;
  /** Below 0: of keys that an earlier window has counted so, and that have ended otherwise since. */
  readonly count: number;
}

/** Refused: no connection, or an open breaker. Late: not within its deadline. Invalid: off its signature, or NaN. */
export type CandidateAnswer = 'Ok' | 'ClientError' | 'ServerError' | 'Refused' | 'Late' | 'Invalid';
export type StableAnswer = 'Ok' | 'ClientError' | 'ServerError' | 'Late' | 'Invalid';

/**
 * Pass: enough trials, the observed proportion within the limit. Fail: the limit is exceeded, beyond chance. Inconclusive:
 * neither. NoTraffic: nothing to judge by. Only Pass lets a rollout go on, only Fail ends it.
 */
export type Verdict = (typeof verdicts)[number];

export interface GateStatus {
  /** What is counted: `errorRate`, `disagreement/label`. Counts stay as long as no other one comes. */
  readonly gate: string;
  readonly verdict: Verdict;
  /** failures / n; absent without trials. */
  readonly observed?: number;
  readonly limit: number;
  /** Where the true proportion is, at all times together, but for a chance of 2α of this gate. */
  readonly interval: readonly [number, number];
  readonly n: number;
  readonly failures: number;
  /** The same of the stable version, where the gate compares with it. */
  readonly stable?: Counts;
  /** Why nothing can be counted, or not yet. */
  readonly message?: string;
}

export type Phase = (typeof phases)[number];

export type RolloutStatus = Idle | UnderWay;

/** Nothing to decide: one version serves, and is the wanted one. */
export interface Idle {
  readonly phase: 'Stable';
  readonly stable: string;
  readonly leaving?: string;
  readonly command?: HandledCommand;
}

export interface UnderWay {
  readonly phase: Exclude<Phase, 'Stable'>;
  /** `<candidate>-<beginning>-<turn>`. The turn grows with each command, so a command is good for what its author saw, and once. */
  readonly id: string;
  readonly message: string;
  readonly stable: string;
  readonly candidate: string;
  /** The candidate of before: it stays until no pod hands it requests. */
  readonly leaving?: string;
  /** Of the candidate, once it was loaded. */
  readonly digest?: string;
  /** Stands for `serve` and `rollout` of the spec, as they were when this rollout began or was last looked at. */
  readonly intent: string;
  readonly startedAt: string;
  /** Last time that it got on: began, took a step, was told to go on. */
  readonly progressedAt: string;
  /** From 0. */
  readonly step: number;
  /** When every pod had the step's weight; absent: not yet. */
  readonly stepStartedAt?: string;
  /** The candidate's, in this step. */
  readonly requests: number;
  readonly approved?: true;
  readonly weight: number;
  readonly appliedWeight: number;
  /** Since when `gates` count; absent: since `startedAt`. */
  readonly countedFrom?: string;
  readonly countedUntil: string;
  readonly gates: readonly GateStatus[];
  /** A person wants it at the end of its steps, whatever is left of them. */
  readonly promoted?: true;
  /** A person has promoted it although a gate had failed: gates do not act any more. */
  readonly overruled?: true;
  /** Paused by itself (`onFailure: Pause`), not by a person. */
  readonly failed?: true;
  /** Holding: until when the old version stays. */
  readonly holdUntil?: string;
  readonly command?: HandledCommand;
}

export interface HandledCommand {
  /** As it was in the annotation. */
  readonly text: string;
  readonly time: string;
  readonly outcome: 'Done' | 'Refused';
  readonly message: string;
}

/** Why a version went back. `gate`: a gate's name, `progressDeadline`, `notReady`, or `abort`. */
export interface LastRollback {
  readonly version: string;
  readonly digest?: string;
  readonly gate: string;
  readonly observed?: number;
  readonly limit?: number;
  readonly time: string;
}

export interface RolloutEvent {
  readonly type: 'Normal' | 'Warning';
  readonly reason:
    | 'RolloutStarted'
    | 'RolloutSuperseded'
    | 'RolloutWithdrawn'
    | 'StepStarted'
    | 'ApprovalNeeded'
    | 'RolloutPaused'
    | 'RolloutResumed'
    | 'Promoting'
    | 'Promoted'
    | 'PromotionFinal'
    | 'RolledBack'
    | 'Aborted'
    | 'CommandRefused';
  readonly message: string;
}

export interface Decision {
  /** The version that the Service is to lead to. */
  readonly front: string;
  /** Versions that run, the one that serves first. */
  readonly runs: readonly string[];
  /** Percent of the requests that the pods of the stable version hand to the candidate. 100: it serves. */
  readonly weight: number;
  readonly phase: Phase;
  /** For `status.rollout`. */
  readonly status: RolloutStatus;
  /** For `status.lastRollback`, where there is a new one. */
  readonly lastRollback?: LastRollback;
  /** What pipelines are to be told of it. */
  readonly outcomes: readonly Outcome[];
  /** When to decide again, if nothing changes before. */
  readonly lookAgainAt?: string;
  readonly events: readonly RolloutEvent[];
}
