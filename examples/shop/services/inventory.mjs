// The twin of inventory.py, for machines without Python: the same answers to the same requests.
import { openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import { provoke } from './faults.mjs';

const maxBody = 16 * 1024 * 1024;
const remembered = 100_000;
const known = new Map([
  ['laptop', [25, 99_900]],
  ['mouse', [200, 2_500]],
]);
const tiers = ['basic', 'silver', 'gold'];

/** How many there are and what one costs. Made up from the name, so that every twin says the same. */
function stock(item) {
  const total = [...item].reduce((sum, character) => sum + character.codePointAt(0), 0);
  const [available, price] = known.get(item) ?? [10 + (total % 90), 500 + (total % 100) * 50];
  return { item, available: item.startsWith('rare') ? 0 : available, unit_price_cents: price };
}

const customer = (number) => ({
  user_id: number,
  name: `Customer ${number}`,
  tier: tiers[number % 3],
  since: 2010 + (number % 15),
});

/** The type and the data of the event that answers an order. */
function reserve({ order_id, user_id = null, items }) {
  const missing = items.filter((item) => stock(item).available === 0);
  if (missing.length > 0 || items.length === 0) {
    const reason = missing.length > 0 ? 'out of stock' : 'nothing was ordered';
    return ['stock.rejected', { order_id, user_id, reason, missing }];
  }
  const lines = items.map((item) => ({ item, unit_price_cents: stock(item).unit_price_cents }));
  return ['stock.reserved', { order_id, user_id, reservation_id: `res-${order_id}`, lines }];
}

/** Why the data of an event is no order. */
function problemOf(order) {
  if (typeof order !== 'object' || order === null || Array.isArray(order)) return 'an order is an object';
  if (typeof order.order_id !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(order.order_id)) {
    return 'order_id: letters, digits, - and _, at most 64';
  }
  const isList = Array.isArray(order.items) && order.items.every((item) => typeof item === 'string');
  return isList ? undefined : 'items: a list of texts';
}

/** What was answered, by idempotency key: a key that comes again gets the same answer, and nothing is done again. */
const answers = new Map();
const counts = { 'stock.reserved': 0, 'stock.rejected': 0 };
const ledger = process.env.INVENTORY_LEDGER ? openSync(process.env.INVENTORY_LEDGER, 'a', 0o600) : undefined;

function answer(order, key, attempt) {
  const repeated = answers.has(key);
  const [type, data] = answers.get(key) ?? reserve(order);
  if (!repeated) {
    answers.set(key, [type, data]);
    counts[type]++;
    if (answers.size > remembered) answers.delete(answers.keys().next().value);
  }
  record(order.order_id, key, attempt, type, repeated);
  return [type, data];
}

/** The kernel has the line before the answer goes. */
function record(order_id, key, attempt, outcome, repeated = false) {
  if (ledger === undefined) return;
  writeSync(ledger, `${JSON.stringify({ order_id, key, attempt, pid: process.pid, outcome, repeated })}\n`);
}

function reply(response, status, data, headers = {}) {
  const content = JSON.stringify(data);
  response.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(content),
    ...headers,
  });
  response.end(content);
}

function get(request, response) {
  const [kind, ...rest] = request.url.split('?')[0].slice(1).split('/');
  const name = unquote(rest.join('/'));
  if (kind === 'stock' && name) {
    provoke([name], { request, response, reply }, () => reply(response, 200, stock(name)));
  } else if (kind === 'customers' && /^[1-9][0-9]{0,14}$/.test(name)) {
    reply(response, 200, customer(Number(name)));
  } else if (kind === 'stats' && !name) {
    reply(response, 200, counts);
  } else {
    reply(response, 404, { error: 'not found' });
  }
}

/** As Python's: what is no UTF-8 becomes U+FFFD, and a % that leads nowhere stays. */
const unquote = (text) =>
  text.replace(/(%[0-9A-Fa-f]{2})+/g, (bytes) => Buffer.from(bytes.replaceAll('%', ''), 'hex').toString());

async function post(request, response) {
  const length = request.headers['content-length'] ?? '';
  if (!/^[0-9]{1,9}$/.test(length) || Number(length) > maxBody) {
    const status = length ? 413 : 411;
    reply(response, status, { error: `Content-Length: at most ${maxBody}` }, { Connection: 'close' });
    return;
  }
  const chunks = await Array.fromAsync(request);
  if (request.url !== '/reserve') return reply(response, 404, { error: 'not found' });
  let order;
  try {
    order = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks)));
  } catch {
    return reply(response, 400, { error: 'the body is not JSON' });
  }
  const problem = problemOf(order);
  if (problem) reply(response, 400, { error: problem });
  else handleOrder(order, request, response);
}

function handleOrder(order, request, response) {
  const key = request.headers['idempotency-key'] || order.order_id;
  const given = request.headers['x-levada-attempt'] ?? '';
  const attempt = /^[0-9]{1,9}$/.test(given) ? Number(given) : null;
  const exchange = {
    request,
    response,
    reply,
    orderId: order.order_id,
    record: (fault) => record(order.order_id, key, attempt, fault),
  };
  provoke(order.items, exchange, () => {
    const [type, data] = answer(order, key, attempt);
    reply(response, 200, data, eventHeaders(type, order.order_id));
  });
}

/** Binary mode: the attributes are headers, the body is the data. The same order gives an event of the same id. */
const eventHeaders = (type, orderId) => ({
  'ce-specversion': '1.0',
  'ce-type': type,
  'ce-source': '/inventory',
  'ce-id': `reserve-${orderId}`,
});

const server = createServer((request, response) => {
  if (request.method === 'GET') get(request, response);
  else if (request.method === 'POST') post(request, response).catch(() => response.destroy());
  else reply(response, 501, { error: 'GET or POST' });
});
server.keepAliveTimeout = 600_000;
server.listen({ port: Number(process.env.PORT), host: process.env.HOST ?? '127.0.0.1', backlog: 1024 }, () => {
  console.log(`inventory (Node) listens on ${server.address().port}`);
});
