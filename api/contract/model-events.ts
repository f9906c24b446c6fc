/** What pipelines are told of the versions of a model. */
export const modelEvents = ['model.promoted', 'model.rolledback'] as const;
export type ModelEvent = (typeof modelEvents)[number];

/** How a rollout has ended: the version that it was about, and the one that had served until then. */
export interface Outcome {
  readonly type: ModelEvent;
  /** Id of the rollout. With the type it identifies what has happened. */
  readonly rollout: string;
  readonly version: string;
  readonly from: string;
  /** RFC 3339. */
  readonly time: string;
  /**
   * Why a version went back: a gate's name, `progressDeadline`, `notReady`, `abort`, `serve`: another one was wanted, or `digest`:
   * under its name is another model now, which is tried from the beginning.
   */
  readonly gate?: string | undefined;
  readonly observed?: number | undefined;
  readonly limit?: number | undefined;
  readonly n?: number | undefined;
}

/** An outcome that pipelines are to be told of. */
export interface Announcement extends Outcome {
  /** Names of those that have not got it yet. */
  readonly to: readonly string[];
}

/** The same each time that it is told: whoever gets it twice can see that. */
export const outcomeId = ({ rollout, type }: Pick<Outcome, 'rollout' | 'type'>): string => `${rollout}/${type}`;

/** What a queue is bound to for it, in its own pipeline. No type of an event has an `@`. */
export const modelEventKey = (type: string, model: string): string => `${type}@${model}`;

/** Whether it is what {@link modelEventKey} gives. */
export const isModelEventKey = (type: string): boolean => type.includes('@');
