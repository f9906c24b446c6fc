// The twin of Shipping.java, for machines without Java: the same answers to the same requests.
import { openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';

const maxBody = 16 * 1024 * 1024;
const remembered = 100_000;
const carriers = ['Bird', 'Ox', 'Snail'];

const carrier = (user) => carriers[user % 3];
const days = (user) => 1 + (user % 5);
const quote = (user) => ({
  user_id: user,
  carrier: carrier(user),
  price_cents: 400 + (user % 7) * 50,
  days: days(user),
});

/** The data of the event. Its type is not said: the step emits only one. */
function shipment({ order_id, user_id, lines }) {
  const user = Number.isInteger(user_id) && user_id >= 0 && user_id < 1e15 ? user_id : 0;
  const parcels = Math.max(1, Math.ceil((Array.isArray(lines) ? lines.length : 0) / 3));
  return { order_id, shipment_id: `ship-${order_id}`, carrier: carrier(user), parcels, days: days(user) };
}

/** What was answered, by idempotency key: a key that comes again gets the same answer, and nothing is done again. */
const answers = new Map();
let booked = 0;
const ledger = process.env.SHIPPING_LEDGER ? openSync(process.env.SHIPPING_LEDGER, 'a', 0o600) : undefined;

function book(reserved, request) {
  const key = request.headers['idempotency-key'] || reserved.order_id;
  const repeated = answers.has(key);
  const answer = answers.get(key) ?? shipment(reserved);
  if (!repeated) {
    answers.set(key, answer);
    booked++;
    if (answers.size > remembered) answers.delete(answers.keys().next().value);
  }
  record(reserved.order_id, key, request.headers['x-levada-attempt'] ?? '', repeated);
  return answer;
}

/** The kernel has the line before the answer goes. */
function record(order_id, key, given, repeated) {
  if (ledger === undefined) return;
  const attempt = /^[0-9]{1,9}$/.test(given) ? Number(given) : null;
  const line = { order_id, key, attempt, pid: process.pid, outcome: 'shipment.booked', repeated };
  writeSync(ledger, `${JSON.stringify(line)}\n`);
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

function get(path, response) {
  const [, user] = /^\/quotes\/([1-9][0-9]{0,14})$/.exec(path) ?? [];
  if (user) reply(response, 200, quote(Number(user)));
  else if (path === '/stats') reply(response, 200, { 'shipment.booked': booked });
  else reply(response, 404, { error: 'not found' });
}

async function post(path, request, response) {
  const length = request.headers['content-length'];
  if (length === undefined || !/^[0-9]{1,9}$/.test(length) || Number(length) > maxBody) {
    const status = length === undefined ? 411 : 413;
    return reply(response, status, { error: `Content-Length: at most ${maxBody}` }, { Connection: 'close' });
  }
  const chunks = await Array.fromAsync(request);
  if (path !== '/book') return reply(response, 404, { error: 'not found' });
  let data;
  try {
    data = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks)));
  } catch {
    return reply(response, 400, { error: 'the body is not JSON' });
  }
  const isOrder = typeof data?.order_id === 'string' && /^[A-Za-z0-9_-]{1,64}$/.test(data.order_id);
  if (isOrder) reply(response, 200, book(data, request));
  else reply(response, 400, { error: 'order_id: letters, digits, - and _, at most 64' });
}

const server = createServer((request, response) => {
  const path = request.url.split('?')[0];
  if (request.method === 'GET') get(path, response);
  else if (request.method === 'POST') post(path, request, response).catch(() => response.destroy());
  else reply(response, 501, { error: 'GET or POST' });
});
server.keepAliveTimeout = 600_000;
server.listen({ port: Number(process.env.PORT), host: process.env.HOST ?? '127.0.0.1', backlog: 1024 }, () => {
  console.log(`shipping (Node) listens on ${server.address().port}`);
});
