/**
 * Takes every event that is posted to it, in a process of its own: a line `{type, id, source, data}` of the file for each,
 * before it answers 204, or what its path begins with: `/422`. Prints its port: a free one of this machine alone, or the one
 * that it is told, for everybody.
 *
 *     node sink.ts FILE [PORT]
 */
import { openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const [, , path = '', port = '0'] = process.argv;
const file = openSync(path, 'a');
const server = createServer((req, res) => {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    const { 'ce-type': type, 'ce-id': id, 'ce-source': source } = req.headers;
    const data: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    writeSync(file, `${JSON.stringify({ type, id, source, data })}\n`);
    res.writeHead(Number(/^\/(\d{3})/.exec(req.url ?? '')?.[1] ?? 204)).end();
  });
});
server.listen(Number(port), port === '0' ? '127.0.0.1' : '0.0.0.0', () =>
  console.log((server.address() as AddressInfo).port),
);
