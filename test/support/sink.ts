/**
 * Takes every event that is posted to it, in a process of its own: a line `{type, id, source, data}` of the file for each,
 * before it answers. Prints its port.
 *
 *     node sink.ts FILE
 */
import { openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const file = openSync(process.argv[2] ?? '', 'a');
const server = createServer((req, res) => {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    const { 'ce-type': type, 'ce-id': id, 'ce-source': source } = req.headers;
    const data: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    writeSync(file, `${JSON.stringify({ type, id, source, data })}\n`);
    res.writeHead(204).end();
  });
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
