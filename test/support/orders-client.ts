/**
 * Posts orders from a process of its own, over keep-alive connections that each send one after the other. Each line of
 * its output is one answer: `{order, status, order_id}`; status 0 is a connection that failed. Nothing is tried again.
 *
 *     node orders-client.ts URL COUNT CONNECTIONS SEED REFUSED
 *
 * COUNT 0: until it is told to end by SIGTERM. REFUSED: share of orders that the inventory refuses, 0 to 1.
 */
import http from 'node:http';

const [url = '', count = '0', connections = '1', seed = '1', refused = '0'] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: Number(connections) });
const names = ['laptop', 'mouse', 'desk', 'lamp', 'pen', 'paper', 'chair', 'phone', 'book', 'rare-coin'];
const limit = Number(count) || Number.POSITIVE_INFINITY;
let posted = 0;
let ending = false;
process.on('SIGTERM', () => {
  ending = true;
});

/** mulberry32, a small generator that a seed repeats. */
function generator(state: number): () => number {
  let a = state;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const random = generator(Number(seed));

function order(): object {
  const pick = () => names[Math.floor(random() * names.length)];
  const items = Array.from({ length: 1 + Math.floor(random() * 4) }, pick);
  if (random() < Number(refused)) items.push('fault:400');
  const amount = Math.round(Math.exp(2 + random() * 6) * 100) / 100;
  return { items, total_amount: amount, user_id: 1 + Math.floor(random() * 100_000) };
}

function post(body: string): Promise<{ status: number; order_id?: string }> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const request = http.request(url, { method: 'POST', agent, headers, timeout: 60_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('error', () => resolve({ status: 0 }));
      response.on('end', () => {
        const { order_id } = response.statusCode === 200 ? (JSON.parse(text) as { order_id: string }) : {};
        resolve({ status: response.statusCode ?? 0, ...(order_id !== undefined && { order_id }) });
      });
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve({ status: 0 }));
    request.end(body);
  });
}

await Promise.all(
  Array.from({ length: Number(connections) }, async () => {
    while (posted < limit && !ending) {
      posted++;
      const body = order();
      const answer = await post(JSON.stringify(body));
      process.stdout.write(`${JSON.stringify({ order: body, ...answer })}\n`);
    }
  }),
);
agent.destroy();
