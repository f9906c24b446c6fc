/**
 * The outcome says what happens next, wherever the error appears:
 * - `terminal`: trying again cannot help until a person changes something;
 * - `wait`: something that Levada watches must happen first, then it goes on by itself;
 * - `retry`: trying again may help, with backoff.
 */
export type Outcome = 'terminal' | 'wait' | 'retry';

export interface ErrorDefinition {
  readonly outcome: Outcome;
  /** `{name}` is replaced by the parameter of that name. */
  readonly message: string;
  /** What the reader does about it. Goes to docs/reference/errors.md. */
  readonly remedy: string;
  /** Status on the wire, where the error can be a response. */
  readonly http?: number;
}

export const define = <const T extends Record<string, ErrorDefinition>>(definitions: T): T => definitions;
