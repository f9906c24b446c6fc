// The twin of faults.py, which says what each fault is.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';

const hugeBytes = 100 * 1024 * 1024;
const seen = new Map();
const ce = { 'ce-specversion': '1.0', 'ce-source': '/inventory', 'ce-id': 'fault', 'ce-type': 'stock.reserved' };

/** Does what the first item of the form `fault:NAME` asks for, or what `proceed` does. */
export function provoke(items, exchange, proceed) {
  const fault = items.find((item) => item.startsWith('fault:'));
  const [, name = '', more = ''] = fault?.split(':') ?? [];
  const count = /^[0-9]{1,6}$/.test(more) ? Number(more) : undefined;
  const { orderId = '', record = () => {} } = exchange;
  if (fault === undefined) return proceed();
  if (/^[2-5][0-9][0-9]$/.test(name)) {
    const key = `${orderId} ${fault}`;
    if (count !== undefined) seen.set(key, (seen.get(key) ?? 0) + 1);
    if (count !== undefined && seen.get(key) > count) return proceed();
    record(fault);
    return status(exchange, Number(name));
  }
  if (name === 'late') return void setTimeout(proceed, count ?? 6_000);
  if (!Object.hasOwn(actions, name)) return proceed();
  record(fault);
  return void actions[name](exchange, orderId);
}

function status({ request, response, reply }, code) {
  const isRedirect = code >= 300 && code < 400;
  const headers = code === 429 || code === 503 ? { 'Retry-After': '1' } : isRedirect ? { Location: request.url } : {};
  if (code === 204 || code === 304) response.writeHead(code).end();
  else reply(response, code, { error: `asked for by fault:${code}` }, headers);
}

const json = { 'Content-Type': 'application/json' };
const raw = ({ response }, content, headers) =>
  response.writeHead(200, { ...json, 'Content-Length': Buffer.byteLength(content), ...headers }).end(content);

async function drip({ response }) {
  response.writeHead(200, { ...json, 'Content-Length': 1_000_000, ...ce });
  while (!response.destroyed) {
    response.write(' ');
    await pause(100);
  }
}

/** Writes as fast as the client reads, until it goes. */
const pour = ({ response }, chunks) => pipeline(Readable.from(chunks), response).catch(() => {});

function* quoted() {
  yield `"${'x'.repeat(65_535)}`;
  for (let sent = 65_536; sent < hugeBytes - 65_536; sent += 65_536) yield 'x'.repeat(65_536);
  yield `${'x'.repeat(65_535)}"`;
}

function huge(exchange) {
  exchange.response.writeHead(200, { ...json, 'Content-Length': hugeBytes, ...ce });
  return pour(exchange, quoted());
}

function endless(exchange) {
  exchange.response.writeHead(200, { ...json, 'Transfer-Encoding': 'chunked', ...ce });
  return pour(exchange, Array(hugeBytes / 65_536).fill(' '.repeat(65_536)));
}

function batch(exchange, orderId) {
  const events = ['stock.reserved', 'stock.rejected'].map((type) => ({
    specversion: '1.0',
    id: `${type}-${orderId}`,
    source: '/inventory',
    type,
    data: { order_id: orderId, reservation_id: `part-${orderId}` },
  }));
  raw(exchange, JSON.stringify(events), { 'Content-Type': 'application/cloudevents-batch+json' });
}

const actions = {
  hang: () => {},
  close: ({ request }) => request.socket.end(),
  cut: ({ request, response }) => {
    response.writeHead(200, { ...json, 'Content-Length': 1_000, ...ce });
    response.write('{"order_id":', () => request.socket.end());
  },
  drip,
  huge,
  endless,
  batch,
  die: () => process.exit(70),
  badjson: (exchange) => raw(exchange, '{"order_id": "1", ', ce),
  badce: (exchange) => raw(exchange, '{}', { ...ce, 'ce-specversion': '0.3' }),
  badschema: (exchange) => raw(exchange, '{"order_id":1}', ce),
  undeclared: (exchange) => raw(exchange, '{}', { ...ce, 'ce-type': 'stock.mislaid' }),
  untyped: (exchange) => raw(exchange, '{}', {}),
  html: (exchange) => raw(exchange, '<h1>Hello</h1>', { 'Content-Type': 'text/html' }),
};
