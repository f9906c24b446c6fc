/**
 * Servers that fan-out clients call, in one process: `quick` answers at once, `slow` after a second. Prints their ports.
 *
 *     /0/…  at once      /5/…  after 5 ms      /hang  never      /404      /moved  to /0/moved      /closes
 */
import { createServer } from 'node:http';

const body = JSON.stringify({
  id: 4711,
  name: 'a thing',
  stock: 12,
  tags: ['a', 'b'],
  price: { amount: 9.5, unit: 'EUR' },
});
const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
const answer = (response) => response.writeHead(200, headers).end(body);

function quick({ url = '' }, response) {
  if (url.startsWith('/0/')) answer(response);
  else if (url.startsWith('/5/')) setTimeout(answer, 5, response);
  else if (url === '/404') response.writeHead(404, { 'content-type': 'application/json' }).end('{}');
  else if (url === '/moved') response.writeHead(302, { location: '/0/moved' }).end();
  else if (url === '/closes') response.destroy();
}

const servers = { quick, slow: (_, response) => setTimeout(answer, 1000, response) };
const ports = {};
for (const [name, handle] of Object.entries(servers)) {
  const server = createServer({ keepAliveTimeout: 120_000 }, handle);
  await new Promise((resolve) => server.listen(0, '127.0.0.1', 1024, resolve));
  ports[name] = server.address().port;
}
console.log(`PORTS ${JSON.stringify(ports)}`);
