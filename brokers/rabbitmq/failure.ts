import { LevadaError, messageOf } from '../../api/errors.ts';

/** Reply codes of AMQP 0-9-1 by which the broker closes a channel or a connection. */
const codes = {
  accessRefused: 403,
  notFound: 404,
  resourceLocked: 405,
  preconditionFailed: 406,
  notAllowed: 530,
} as const;

/** The reply code in an error of amqplib. */
function replyCode(error: unknown): number | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'number' ? code : undefined;
}

/** The broker's own words: amqplib puts them behind its own. */
function brokersWords(error: unknown): string {
  const text = messageOf(error);
  return /with message "(.*?)"?$/s.exec(text)?.[1] ?? text;
}

/** What a failed operation on a channel comes to. `what` is the thing that it was about. */
export function channelFailure(error: unknown, what: string): LevadaError {
  if (error instanceof LevadaError) return error;
  const detail = brokersWords(error);
  switch (replyCode(error)) {
    case codes.accessRefused:
      return new LevadaError('BrokerForbidden', { detail }, { cause: error });
    case codes.notFound:
      return new LevadaError('QueueNotFound', { found: what }, { cause: error });
    case codes.resourceLocked:
    case codes.preconditionFailed:
      return new LevadaError('QueueConflict', { found: what, detail }, { cause: error });
    default:
      return new LevadaError('BrokerUnavailable', { detail }, { cause: error });
  }
}

/** What a connection that could not be made comes to: refused, where trying again with the same settings cannot help. */
export function connectionFailure(error: unknown, broker: string): LevadaError {
  if (error instanceof LevadaError) return error;
  const text = messageOf(error);
  const code = replyCode(error) ?? Number(/^Handshake terminated by server: (\d+)/.exec(text)?.[1]);
  // amqplib does not tell why the broker has closed it instead of opening the vhost.
  const vhost = /^Expected ConnectionOpenOk; got <ConnectionClose/.test(text);
  const refused =
    vhost || code === codes.accessRefused || code === codes.notAllowed || /^Handshake terminated/.test(text);
  const certificate = /certificate|self-signed|ssl|tls/i.test(text);
  const words = vhost ? 'there is no such vhost, or the user may not use it' : brokersWords(error);
  const detail = `${broker}: ${words || (error as NodeJS.ErrnoException).code || 'no reason given'}`;
  return new LevadaError(refused || certificate ? 'BrokerRefused' : 'BrokerUnavailable', { detail }, { cause: error });
}
