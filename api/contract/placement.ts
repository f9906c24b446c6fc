/** What a broker calls the parts of a pipeline: data, so that it can be handed to other processes. */
export interface Placement {
  /** `namespace/name`. */
  readonly pipeline: string;
  /** By logical name of the queue, also those that are being emptied. */
  readonly queues: Readonly<Record<string, PlacedQueue>>;
  /** Types that some queue is bound to: a message of another type goes nowhere, and that is right. */
  readonly types: readonly string[];
}

export interface PlacedQueue {
  /** What is consumed: the queue itself, those that it takes the place of, and somebody else's that it adopts. */
  readonly from: readonly PlacedSource[];
  /** Where its dead letters are. */
  readonly dead: string;
}

export interface PlacedSource {
  readonly name: string;
  /** Somebody else's: what is in it is not Levada's form, and it is never made anew. */
  readonly adopted: boolean;
}
