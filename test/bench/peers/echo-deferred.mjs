// echo.mjs, with the answers of one event-loop turn written together at its end. PORT (0: any free one).
import { createServer } from 'node:http';

let waiting = [];

function flush() {
  const turn = waiting;
  waiting = [];
  for (const { response, answer } of turn) {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(answer) });
    response.end(answer);
  }
}

const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    const text = Buffer.concat(chunks).toString() || '{}';
    if (waiting.length === 0) setImmediate(flush);
    waiting.push({ response, answer: JSON.stringify(JSON.parse(text)) });
  });
});
server.listen(Number(process.env.PORT ?? process.argv[2] ?? 0), '127.0.0.1', () => {
  process.stdout.write(`LISTENING ${server.address().port}\n`);
});
