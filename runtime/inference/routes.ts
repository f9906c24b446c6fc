import type { IncomingMessage, ServerResponse } from 'node:http';
import { LevadaError } from '../../api/errors.ts';
import { show } from '../../api/rules.ts';
import { readBody } from './body.ts';
import type { Protocol } from './metrics.ts';
import { errorReply, send, sendEarly } from './reply.ts';
import type { Headers } from './routing/decide.ts';
import type { Answer, ModelService } from './service.ts';

const defaultTimeoutMs = 30_000;
const maxTimeoutMs = 600_000;

type Submit = (body: Buffer, timeoutMs: number, answer: Answer, headers: Headers) => () => void;

/** How one request is dealt with: a POST whose body is worked on, or an answer that is there at once. */
type Route =
  | { method: 'POST'; protocol: Protocol; submit: Submit }
  | { method: 'GET'; protocol: Protocol; reply(): { status: number; body: object } };

/** Finds routes and answers requests of one process. `closing` says whether a connection ends with its answer. */
export function requestHandler(service: ModelService, closing: (req: IncomingMessage) => boolean) {
  const { version } = service.config;
  const find = router(service);
  return (req: IncomingMessage, res: ServerResponse): void => {
    const start = performance.now();
    let protocol: Protocol = req.url?.startsWith('/v2') ? 'oip' : 'simple';
    const fail = (error: unknown, counted: boolean) => {
      const reply = errorReply(protocol, error);
      if (req.complete || !hasBody(req)) send(res, reply, version, closing(req));
      else sendEarly(req, res, reply, version);
      if (counted) service.metrics.request(protocol, reply.status, 0, reply.code);
    };
    let route: Route;
    let timeoutMs: number;
    try {
      route = find(req.method ?? '', req.url ?? '');
      protocol = route.protocol;
      timeoutMs = requestTimeout(req);
      if (route.method === 'GET') {
        const { status, body } = route.reply();
        req.resume();
        send(res, { status, body: JSON.stringify(body) }, version, closing(req));
        return;
      }
    } catch (error) {
      if (error instanceof MethodError) res.setHeader('allow', error.allowed);
      fail(error instanceof MethodError ? error.error : error, req.method === 'POST');
      return;
    }
    const { submit } = route;
    readBody(req, (error, body) => {
      if (error) return fail(error, true);
      try {
        const answer: Answer = (problem, text, answeredBy = version, trial = undefined) => {
          if (problem) return fail(problem, true);
          send(res, { status: 200, body: text, ...(trial !== undefined && { trial }) }, answeredBy, closing(req));
          service.metrics.request(protocol, 200, (performance.now() - start) / 1000);
        };
        const withdraw = submit(body, timeoutMs - (performance.now() - start), answer, req.headers);
        res.once('close', withdraw);
      } catch (thrown) {
        fail(thrown, true);
      }
    });
  };
}

/** At the time of its headers a request is never complete. */
const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';

/** Carries what the `Allow` header says. */
class MethodError extends Error {
  readonly allowed: string;
  readonly error: LevadaError;
  constructor(found: string, allowed: string) {
    super(found);
    this.allowed = allowed;
    this.error = new LevadaError('MethodNotAllowed', { found, allowed });
  }
}

/** @returns a function that throws LevadaError RouteNotFound, UnknownModel, UnknownVersion, MethodNotAllowed */
function router(service: ModelService): (method: string, url: string) => Route {
  const { model, version } = service.config;
  const fixed = fixedRoutes(service);
  const ofModel = modelRoutes(service);
  const known = `/health, /predict, /v2, /v2/models/${model}`;
  return (method, url) => {
    const query = url.indexOf('?');
    const path = query < 0 ? url : url.slice(0, query);
    let route = fixed.get(path);
    if (!route) {
      const match = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(\/ready|\/infer)?\/?$/.exec(path);
      if (!match) throw new LevadaError('RouteNotFound', { found: show(path), allowed: known });
      const [name, wanted] = [decode(match[1]), decode(match[2])];
      if (name !== model) throw new LevadaError('UnknownModel', { found: show(name), allowed: model });
      if (wanted !== undefined && wanted !== version) {
        throw new LevadaError('UnknownVersion', { found: show(wanted), model, allowed: version });
      }
      // Who names a version gets that one.
      const key = wanted !== undefined && match[3] === '/infer' ? '/infer here' : (match[3] ?? '');
      route = ofModel[key as keyof typeof ofModel];
    }
    if (route.method !== method && !(route.method === 'GET' && method === 'HEAD')) {
      throw new MethodError(show(method), route.method === 'GET' ? 'GET, HEAD' : route.method);
    }
    return route;
  };
}

function fixedRoutes(service: ModelService): Map<string, Route> {
  const { model } = service.config;
  const loaded = () => service.status.state === 'Loaded';
  const state = { Loading: 'loading', Loaded: 'ok', Failed: 'failed' } as const;
  const get = (protocol: Protocol, reply: () => { status: number; body: object }): Route => ({
    method: 'GET',
    protocol,
    reply,
  });
  const server = get('oip', () => ({ status: 200, body: { name: 'levada', version: '0.1.0', extensions: [] } }));
  return new Map<string, Route>([
    // Always 200: the seed's health says by its body whether the model is there.
    [
      '/health',
      get('simple', () => ({ status: 200, body: { status: state[service.status.state], model_loaded: loaded() } })),
    ],
    ['/predict', { method: 'POST', protocol: 'simple', submit: (...args) => service.predict(...args) }],
    ['/v2', server],
    ['/v2/', server],
    ['/v2/health/live', get('oip', () => ({ status: 200, body: { live: true } }))],
    ['/v2/health/ready', get('oip', () => ({ status: loaded() ? 200 : 503, body: { ready: loaded() } }))],
    // The commonest path, found without the regular expression.
    [`/v2/models/${model}/infer`, { method: 'POST', protocol: 'oip', submit: (...args) => service.infer(...args) }],
  ]);
}

function modelRoutes(service: ModelService): Record<'' | '/ready' | '/infer' | '/infer here', Route> {
  const { model } = service.config;
  return {
    '': { method: 'GET', protocol: 'oip', reply: () => ({ status: 200, body: service.metadata() }) },
    '/ready': {
      method: 'GET',
      protocol: 'oip',
      reply: () => {
        const ready = service.status.state === 'Loaded';
        return { status: ready ? 200 : 503, body: { name: model, ready } };
      },
    },
    '/infer': { method: 'POST', protocol: 'oip', submit: (...args) => service.infer(...args) },
    '/infer here': {
      method: 'POST',
      protocol: 'oip',
      submit: (body, timeoutMs, answer) => service.infer(body, timeoutMs, answer, undefined),
    },
  };
}

function decode(segment: string | undefined): string | undefined {
  if (segment === undefined) return undefined;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment; // no model has such a name
  }
}

function requestTimeout({ headers }: IncomingMessage): number {
  const value = headers['x-request-timeout-ms'];
  if (value === undefined) return defaultTimeoutMs;
  const ms = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : 0;
  if (ms >= 1 && ms <= maxTimeoutMs) return ms;
  throw new LevadaError('InvalidInput', {
    field: 'x-request-timeout-ms',
    found: show(value),
    allowed: `whole milliseconds, 1 to ${maxTimeoutMs}`,
  });
}
