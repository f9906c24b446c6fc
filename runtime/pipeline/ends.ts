import type { ErrorCode } from '../../api/errors.ts';
import type { Message } from '../events/message.ts';
import type { Trial } from '../steps/step.ts';

/** How a delivery of a message to a step ended. `done`, `skipped`, `duplicate` and `dead` are final. */
export interface End {
  /** `namespace/name`. */
  readonly pipeline: string;
  readonly step: string;
  readonly message: Message;
  readonly end: 'done' | 'skipped' | 'duplicate' | 'retry' | 'dead' | 'released';
  /** What went wrong, of `retry` and `dead`. */
  readonly reason?: ErrorCode;
  readonly error?: string;
  /** Of the rollout of a model that has answered this attempt. */
  readonly trial?: Trial;
  /** Until the next attempt, of `retry`. */
  readonly delayMs?: number;
  /** What came out. */
  readonly emits: readonly Message[];
  /** From when the step took the message to when its end was safe. */
  readonly ms: number;
}
