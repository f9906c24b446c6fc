import type { IncomingMessage, ServerResponse } from 'node:http';
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type { HttpSourceConfig } from '../../api/contract/pipeline.ts';
import { LevadaError } from '../../api/errors.ts';
import { show } from '../../api/rules.ts';
import type { Message } from '../events/message.ts';
import { type Answer, errorAnswer, isUnexpected, Refusal, send } from './answer.ts';
import { type Body, type ByteBudget, ClientGone, checkBodyHeaders, readBody } from './body.ts';
import type { IdempotencyKeys } from './idempotency.ts';
import { compileIntake, type Draft, type Intake, type IntakeOptions, type Taken } from './intake.ts';

/** What stays when the configuration of a source changes. */
export interface Shared extends IntakeOptions {
  /** Resolves when the messages are safe. @throws LevadaError BrokerFull, BrokerUnavailable, MessageTooLarge */
  readonly publish: (pipeline: string, messages: readonly Message[]) => Promise<void>;
  readonly observe: (outcome: Outcome) => void;
  readonly fail: (error: unknown) => void;
  readonly keys: IdempotencyKeys;
  readonly budget: ByteBudget;
  readonly maxBodyBytes: number;
  /** Whether connections end with their next answer, and whether requests that begin are refused. */
  readonly leaving: () => boolean;
  readonly refusing: () => boolean;
}

/** How a request was answered. */
export interface Outcome {
  readonly status: number;
  readonly code?: string;
  /** Milliseconds, from the headers to the answer. */
  readonly ms: number;
}

export type Handler = (req: IncomingMessage, res: ServerResponse) => void;

declare module 'fastify' {
  interface FastifyRequest {
    /** `performance.now()` when the headers were there. */
    startedAt: number;
  }
}

/**
 * Builds what answers requests under one configuration. It owns no socket, so that another one can take its place.
 *
 * @throws LevadaError ExpressionInvalid, SchemaInvalid
 */
export async function buildApp(config: HttpSourceConfig, shared: Shared): Promise<Handler> {
  const intake = compileIntake(config, shared);
  const answer = (reply: FastifyReply, found: Answer) => {
    send(reply, found, shared.leaving());
    const ms = performance.now() - reply.request.startedAt;
    shared.observe({ status: found.status, ms, ...(found.code && { code: found.code }) });
  };
  const answerError = (reply: FastifyReply, error: unknown) => {
    if (error instanceof ClientGone) {
      reply.hijack();
      return;
    }
    if (isUnexpected(error)) shared.fail(error);
    answer(reply, errorAnswer(error));
  };
  const app = fastify({
    logger: false,
    requestIdHeader: false,
    genReqId: () => '',
    exposeHeadRoutes: false,
    frameworkErrors: (_error, request, reply) => {
      request.startedAt = performance.now();
      answerError(reply, notFound(request, config));
    },
  });
  app.decorateRequest('startedAt', 0);
  app.addHook('onRequest', (request, _reply, done) => {
    request.startedAt = performance.now();
    try {
      checkHeaders(request, config, shared);
      done();
    } catch (error) {
      done(error as Error);
    }
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', (request, _payload, done) => {
    readBody(request.raw, shared.maxBodyBytes, shared.budget, done);
  });
  app.setErrorHandler((error, _request, reply) => answerError(reply, error));
  app.route({
    method: config.method,
    url: config.path,
    handler: async (request, reply) => {
      const body = request.body as Body | undefined; // undefined: no content-type and no content
      try {
        answer(reply, await handle(request, body?.bytes ?? Buffer.alloc(0), config, intake, shared));
      } catch (error) {
        answerError(reply, error);
      } finally {
        shared.budget.give(body?.held ?? 0);
      }
      return reply;
    },
  });
  await app.ready();
  return (req, res) => app.routing(req, res);
}

/**
 * All that can be said before the body is there.
 *
 * @throws LevadaError SourceUnavailable, RouteNotFound, UnsupportedMediaType, BodyTooLarge, IdempotencyKeyInvalid;
 *   Refusal MethodNotAllowed
 */
function checkHeaders(request: FastifyRequest, config: HttpSourceConfig, shared: Shared): void {
  const { raw, method } = request;
  if (request.is404) {
    if (raw.url?.split('?', 1)[0] !== config.path) throw notFound(request, config);
    const error = new LevadaError('MethodNotAllowed', { found: show(method), allowed: config.method });
    throw new Refusal(error, { headers: { allow: config.method } });
  }
  if (shared.refusing()) throw new LevadaError('SourceUnavailable', { detail: 'the source is being stopped' });
  if (raw.headers.host === undefined && raw.httpVersion === '1.1') {
    throw new LevadaError('RequestMalformed', { detail: 'the header host is missing' });
  }
  checkBodyHeaders(raw, shared.maxBodyBytes);
  idempotencyKey(raw);
}

function notFound({ raw }: FastifyRequest, config: HttpSourceConfig): LevadaError {
  const found = show(raw.url?.split('?', 1)[0]);
  return new LevadaError('RouteNotFound', { found, allowed: `${config.method} ${config.path}` });
}

/** @throws LevadaError IdempotencyKeyInvalid */
function idempotencyKey({ headers }: IncomingMessage): string | undefined {
  // One that came twice has been joined with ", ", whose space is not allowed either.
  const key = headers['idempotency-key'];
  if (key === undefined || (typeof key === 'string' && /^[\x21-\x7e]{1,255}$/.test(key)))
    return key as string | undefined;
  const allowed = 'one key of 1 to 255 visible ASCII characters';
  throw new LevadaError('IdempotencyKeyInvalid', { found: key === '' ? 'an empty one' : show(String(key)), allowed });
}

/** One request whose body is there. @throws what an {@link Intake} does, what `publish` does, and LevadaError IdempotencyKey… */
async function handle(
  { raw }: FastifyRequest,
  body: Buffer,
  { pipeline }: HttpSourceConfig,
  intake: Intake,
  shared: Shared,
): Promise<Answer> {
  const { headers } = raw;
  const draft = intake.read({
    headers,
    body,
    get headersDistinct() {
      return raw.headersDistinct; // made when it is asked for, which is seldom
    },
  });
  const take = () => intake.take(draft);
  const publish = ({ message }: Taken) => shared.publish(pipeline, [message]);
  const key = idempotencyKey(raw);
  if (key !== undefined) return once(key, draft, shared.keys, take, publish);
  const taken = await take();
  await publish(taken);
  return taken.answer;
}

async function once(
  key: string,
  draft: Draft,
  keys: IdempotencyKeys,
  take: () => Promise<Taken>,
  publish: (taken: Taken) => Promise<void>,
): Promise<Answer> {
  const begun = keys.begin(key, draft.fingerprint());
  if (begun.state === 'reused') throw new LevadaError('IdempotencyKeyReused', { found: show(key) });
  if (begun.state === 'in-use') throw new LevadaError('IdempotencyKeyInUse', { found: show(key) });
  if (begun.state === 'replay') {
    return { ...begun.answer, headers: { ...begun.answer.headers, 'idempotency-replayed': 'true' } };
  }
  let taken: Taken | undefined;
  try {
    // An edit may have given it another type: then it is another event.
    const isSame = begun.taken?.message.type === draft.message.type;
    taken = (isSame && begun.taken) || (await take());
    await publish(taken);
    keys.done(key, taken.answer);
    return taken.answer;
  } catch (error) {
    // The broker, or one of its queues, may have what it did not confirm.
    if (taken) keys.unsure(key, taken);
    else keys.free(key);
    throw error;
  }
}
