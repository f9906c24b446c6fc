import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { askAdmin } from './admin-port.ts';

const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
});

/** The address of one that answers whatever it is asked with these bytes, and may end then. */
async function answering(text: string, ends = true): Promise<{ url: string; asked: () => string }> {
  let asked = '';
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    socket.on('data', (chunk) => {
      asked += String(chunk);
      if (ends) socket.end(text);
      else socket.write(text);
    });
  }).listen(0, '127.0.0.1');
  server.unref();
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/status`, asked: () => asked };
}

it('gives the status and the text of an answer, whatever the status is', async () => {
  const { url, asked } = await answering('HTTP/1.1 503 No\r\ncontent-length: 5\r\n\r\nhello');
  expect(await askAdmin(url, 5)).toEqual({ status: 503, text: 'hello' });
  expect(asked()).toMatch(/^GET \/status /);
});

it('puts what it is given', async () => {
  const { url, asked } = await answering('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}');
  await askAdmin(url, 5, '{"é":1}');
  expect(asked()).toMatch(/^PUT \/status /);
  expect(asked()).toContain('content-length: 8');
});

// A pod is known by its labels alone: who answers there may be anybody.
it.each([
  ['more than is taken', 'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello!', true, 'more than 5 bytes'],
  [
    'more than is taken, in chunks',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nhello!\r\n',
    false,
    '5 bytes',
  ],
  ['no HTTP', 'hello', true, 'Expected HTTP'],
  ['an answer that is cut', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel', true, 'aborted'],
  ['nothing, and ends', '', true, 'socket hang up'],
  ['nothing', '', false, 'no answer within 2 s'],
  ['an answer without an end', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel', false, 'no answer within 2 s'],
  [
    'another protocol',
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
    false,
    'no answer within 2 s',
  ],
])('rejects where it gets %s', async (_, text, ends, message) => {
  const { url } = await answering(text, ends);
  await expect(askAdmin(url, 5)).rejects.toThrow(message);
});

it('rejects where nobody is', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  await expect(askAdmin(`http://127.0.0.1:${port}/status`, 5)).rejects.toThrow('ECONNREFUSED');
});
