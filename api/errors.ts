import { brokerErrors } from './errors/broker.ts';
import { clusterErrors } from './errors/cluster.ts';
import type { ErrorDefinition } from './errors/definition.ts';
import { eventErrors } from './errors/events.ts';
import { modelErrors } from './errors/models.ts';
import { resourceErrors } from './errors/resources.ts';
import { toolErrors } from './errors/tools.ts';
import { wireErrors } from './errors/wire.ts';

/**
 * Every error that Levada reports, with its code; errors/ holds them by where they appear. A code is also the `reason` of
 * a condition or a dead letter and the value of `x-levada-error` on the wire, so codes are CamelCase and never change
 * their meaning.
 */
export const errorGroups = {
  resources: { title: 'Resources and files', errors: resourceErrors },
  models: { title: 'Models', errors: modelErrors },
  wire: { title: 'On the wire', errors: wireErrors },
  events: { title: 'Events: reasons of retries and dead letters', errors: eventErrors },
  broker: { title: 'Brokers', errors: brokerErrors },
  cluster: { title: 'Clusters', errors: clusterErrors },
  tools: { title: 'Commands', errors: toolErrors },
} as const;

export type ErrorCode =
  | keyof typeof resourceErrors
  | keyof typeof modelErrors
  | keyof typeof wireErrors
  | keyof typeof eventErrors
  | keyof typeof brokerErrors
  | keyof typeof clusterErrors
  | keyof typeof toolErrors;
export const errors: Readonly<Record<ErrorCode, ErrorDefinition>> = {
  ...resourceErrors,
  ...modelErrors,
  ...wireErrors,
  ...eventErrors,
  ...brokerErrors,
  ...clusterErrors,
  ...toolErrors,
};
export type ErrorParams = Readonly<Record<string, string | number>>;

/** The message of `code` with its `{placeholders}` filled in. A parameter that is not given stays visible as `{name}`. */
export function errorMessage(code: ErrorCode, params: ErrorParams = {}): string {
  return errors[code].message.replace(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole));
}

/** An error with a registered code. Test by `code` (see {@link errorCodeOf}): `instanceof` fails across processes. */
export class LevadaError extends Error {
  readonly code: ErrorCode;
  readonly params: ErrorParams;
  constructor(code: ErrorCode, params: ErrorParams = {}, options?: ErrorOptions) {
    super(errorMessage(code, params), options);
    this.name = 'LevadaError';
    this.code = code;
    this.params = params;
  }
}

/** The registered code that `error` carries, if it carries one. */
export function errorCodeOf(error: unknown): ErrorCode | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && Object.hasOwn(errors, code) ? (code as ErrorCode) : undefined;
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Code and text of anything that was thrown, for a status. */
export const failureOf = (error: unknown): { readonly code: ErrorCode; readonly message: string } => ({
  code: errorCodeOf(error) ?? 'InternalError',
  message: messageOf(error),
});

/** One mistake in a resource: a value, so that all of them are reported at once. */
export interface Problem {
  readonly code: ErrorCode;
  /** Field path as kubectl prints it: `spec.versions[0].uri`. Empty: the whole document. */
  readonly path: string;
  readonly message: string;
}

export function problem(code: ErrorCode, path: string, params: ErrorParams = {}): Problem {
  return { code, path, message: errorMessage(code, params) };
}
