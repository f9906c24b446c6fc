import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { QueueState } from '../../api/contract/pipeline.ts';
import { errorCodeOf, messageOf } from '../../api/errors.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import type { DeadLetter, DeadLetterFilter, ReplayOptions } from '../../runtime/pipeline/dead-letters.ts';
import type { StepCounts } from '../../runtime/pipeline/rates.ts';

/** A resource as other commands see it, with the addresses that only a local run has. */
export interface LocalResource {
  readonly resource: Resource;
  readonly services: Readonly<Record<string, string>>;
  /** Admin URLs (metrics, health) by unit. */
  readonly admin: Readonly<Record<string, readonly string[]>>;
}

/** A step as it is this very moment. */
export interface LiveStep extends QueueState {
  readonly name: string;
  /** Absent: nothing has taken a message from the queue yet. */
  readonly counts?: StepCounts;
}

/** What other commands may ask of a run. `pipeline` is `namespace/name`. */
export interface AdminApi {
  resources(): LocalResource[];
  steps(pipeline: string): Promise<LiveStep[]>;
  deadLetters(pipeline: string, filter: DeadLetterFilter, limit: number, signal: AbortSignal): Promise<DeadLetter[]>;
  /** How many match. */
  countDead(pipeline: string, filter: DeadLetterFilter, signal: AbortSignal): Promise<number>;
  replay(pipeline: string, filter: DeadLetterFilter, options: ReplayOptions, signal: AbortSignal): Promise<number>;
  drop(pipeline: string, filter: DeadLetterFilter, signal: AbortSignal): Promise<number>;
  /** Sets the annotation by which people say what becomes of a rollout. `resource` is `Kind/namespace/name`. */
  command(resource: string, text: string): void;
}

export interface AdminServer {
  readonly url: string;
  readonly token: string;
  close(): void;
}

/** A request to the admin port. */
export interface AdminRequest {
  readonly pipeline?: string;
  readonly filter?: DeadLetterFilter;
  readonly limit?: number;
  readonly replay?: ReplayOptions;
  readonly resource?: string;
  readonly command?: string;
}

const maxBody = 4 * 1024 * 1024;

/**
 * POST /resources, /steps, /deadletters, /count, /replay, /drop, /command, on a loopback port, for holders of the token. What is
 * being done for somebody who has gone ends at the next message.
 */
export function startAdmin(api: AdminApi): Promise<AdminServer> {
  const token = randomBytes(24).toString('base64url');
  const expected = Buffer.from(`Bearer ${token}`);
  const answers: Readonly<Record<string, (request: AdminRequest, signal: AbortSignal) => unknown>> = {
    '/resources': () => api.resources(),
    '/steps': ({ pipeline = '' }) => api.steps(pipeline),
    '/deadletters': ({ pipeline = '', filter = {}, limit = 1_000 }, signal) =>
      api.deadLetters(pipeline, filter, limit, signal),
    '/count': ({ pipeline = '', filter = {} }, signal) => api.countDead(pipeline, filter, signal),
    '/replay': ({ pipeline = '', filter = {}, replay = {} }, signal) => api.replay(pipeline, filter, replay, signal),
    '/drop': ({ pipeline = '', filter = {} }, signal) => api.drop(pipeline, filter, signal),
    '/command': ({ resource = '', command = '' }) => {
      api.command(resource, command);
      return {};
    },
  };
  const server = createServer((req, res) => {
    const given = Buffer.from(req.headers.authorization ?? '');
    const answer = Object.hasOwn(answers, req.url ?? '') ? answers[req.url ?? ''] : undefined;
    const isKnown = given.length === expected.length && timingSafeEqual(given, expected);
    if (!isKnown || !answer || req.method !== 'POST') {
      req.resume();
      res.writeHead(isKnown ? 404 : 401).end();
      return;
    }
    const gone = new AbortController();
    res.on('close', () => gone.abort());
    const send = (status: number, value: unknown) =>
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    bodyOf(req)
      .then((body) => answer(JSON.parse(body || '{}') as AdminRequest, gone.signal))
      .then(
        (value) => send(200, value),
        (error: unknown) => send(500, { code: errorCodeOf(error), message: messageOf(error) }),
      );
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      resolve({ url: `http://127.0.0.1:${port}`, token, close: () => server.close() });
    });
  });
}

async function bodyOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxBody) throw new Error(`the request has more than ${maxBody} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
