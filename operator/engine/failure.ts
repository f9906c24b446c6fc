import { type ErrorCode, LevadaError, messageOf } from '../../api/errors.ts';

/** The parts of a `Status` object (meta/v1) that say what went wrong. */
export interface Status {
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
}

/**
 * What a refusal means for who asked.
 *
 * @param what was asked for: `patch deployments default/iris-v1`
 * @param retryAfterMs of the response, where it has one
 */
export function refusal(what: string, httpStatus: number, status: Status, retryAfterMs?: number): LevadaError {
  const detail = status.message || `HTTP ${httpStatus}`;
  const error = new LevadaError(codeOf(httpStatus, status), { what, detail });
  const after = retryAfterMs ?? (httpStatus === 429 ? defaultRetryAfterMs : undefined);
  return after === undefined ? error : Object.assign(error, { retryAfterMs: after });
}

/** Where a busy API server does not say when to ask again. */
const defaultRetryAfterMs = 1_000;

/**
 * A 403 that is no missing right is told by words alone (kubernetes plugin/pkg/admission/resourcequota/controller.go,
 * plugin/pkg/admission/namespace/lifecycle/admission.go, staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/errors
 * and plugin/policy/validating).
 */
function codeOfForbidden(message: string): ErrorCode {
  if (message.includes('admission webhook') || message.includes('ValidatingAdmissionPolicy')) return 'ClusterRefused';
  if (message.includes('because it is being terminated')) return 'ClusterBusy';
  return message.includes('exceeded quota') ? 'ClusterQuotaExceeded' : 'ClusterForbidden';
}

function codeOf(httpStatus: number, { reason, message = '' }: Status): ErrorCode {
  switch (httpStatus) {
    case 401:
      return 'ClusterUnauthorized';
    case 403:
      return codeOfForbidden(message);
    case 404:
      return 'ClusterNotFound';
    case 409:
      // The quota's own write raced with another: to be tried again, as all conflicts.
      return 'ClusterConflict';
    case 410:
      return 'ClusterExpired';
    case 429:
      return 'ClusterBusy';
    case 504:
      return 'ClusterUnavailable';
    default:
      // A server-side apply says it with the status 500.
      if (message.includes('field not declared in schema')) return 'ClusterRefused';
      if (reason === 'Expired' || reason === 'Gone') return 'ClusterExpired';
      return httpStatus >= 500 ? 'ClusterUnavailable' : 'ClusterRefused';
  }
}

/** What a request that got no answer means. */
export const silence = (error: unknown): LevadaError =>
  new LevadaError('ClusterUnavailable', { detail: causeOf(error) }, { cause: error });

/** An AggregateError (each address of a name was tried) has no message of its own. */
function causeOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.map(causeOf).join(', ');
  return messageOf(error) || String((error as { code?: unknown }).code ?? error);
}
