/**
 * The handlers of the chaos run, and their ledger, in a process of its own: a line for each request, when it comes and
 * when it is answered. What it answers is drawn from a seed: most are done, some are slow, some fail and are tried again,
 * some are refused and become dead letters.
 *
 *     node ledger.ts FILE SEED          prints its port
 */
import { openSync, writeSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { generator } from './random.ts';

const [path = '', seed = '1'] = process.argv.slice(2);
const file = openSync(path, 'a');
const random = generator(Number(seed));

const server = createServer((req, res) => {
  req.resume();
  const step = (req.url ?? '/').slice(1);
  const { 'ce-id': id, 'x-levada-attempt': attempt } = req.headers;
  const say = (end: string) => writeSync(file, `${JSON.stringify({ step, id, attempt, end })}\n`);
  req.on('end', () => {
    void answer();
  });
  async function answer(): Promise<void> {
    const fate = random();
    say('begun');
    if (fate < 0.02)
      await pause(1_500); // longer than the step's time-out
    else if (fate < 0.1) await pause(200 * random());
    const status = fate > 0.97 ? 429 : fate > 0.94 ? 500 : fate > 0.93 ? 422 : 200;
    // Nobody hears an answer that comes too late: it is another attempt's to be done.
    if (res.destroyed || req.destroyed) return void say('late');
    if (status === 200) say('done');
    res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ step, id }));
  }
});
server.listen(0, '127.0.0.1', () => console.log((server.address() as AddressInfo).port));
