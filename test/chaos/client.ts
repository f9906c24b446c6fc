/**
 * Posts events at a rate, from a process of its own, until SIGTERM. A line `{status, id}` for each answer, the id being
 * that of the event; status 0: no answer came. Nothing is tried again: what counts as accepted is what was answered with 2xx.
 *
 *     node client.ts URL PER_SECOND
 */
import http from 'node:http';

const [url = '', perSecond = '100'] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
let underWay = 0;
let ending = false;

function post(): void {
  const body = JSON.stringify({ text: 'x'.repeat(200) });
  underWay++;
  let said = false;
  const say = (status: number, text = '') => {
    if (said) return;
    said = true;
    const id = status >= 200 && status < 300 ? (JSON.parse(text) as { id: string }).id : '';
    process.stdout.write(`${JSON.stringify({ status, id })}\n`);
    underWay--;
    if (ending && underWay === 0) agent.destroy();
  };
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const request = http.request(url, { method: 'POST', agent, headers, timeout: 60_000 }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    response.on('error', () => say(0));
    response.on('end', () => say(response.statusCode ?? 0, text));
  });
  request.on('timeout', () => request.destroy());
  request.on('error', () => say(0));
  request.end(body);
}

const timer = setInterval(() => {
  // Bounded: a source that answers nothing must not fill this process.
  if (underWay < 2_000) post();
}, 1_000 / Number(perSecond));
process.on('SIGTERM', () => {
  ending = true;
  clearInterval(timer);
  if (underWay === 0) agent.destroy();
});
