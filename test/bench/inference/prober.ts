/**
 * `node prober.ts URL PER_SECOND SECONDS`: GETs at a fixed rate, whether or not earlier ones are answered. A latency
 * counts from the time at which the request was due, so a server (or this process) that stalls cannot hide it.
 */
import { Agent, get } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Probes {
  latenciesMs: number[];
  /** How late each request left; part of its latency. */
  sendDelaysMs: number[];
  /** Failures and statuses other than 200. */
  errors: string[];
}

const [url = '', perSecond = '', seconds = ''] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true });
const probes: Probes = { latenciesMs: [], sendDelaysMs: [], errors: [] };

function probe(due: number): Promise<void> {
  probes.sendDelaysMs.push(performance.now() - due);
  return new Promise((resolve) => {
    const finish = (error?: string) => {
      if (error === undefined) probes.latenciesMs.push(performance.now() - due);
      else probes.errors.push(error);
      resolve();
    };
    const call = get(url, { agent, timeout: 5000 }, (response) => {
      response.resume();
      response.on('end', () => finish(response.statusCode === 200 ? undefined : `status ${response.statusCode}`));
    });
    call.on('timeout', () => call.destroy(new Error('no answer in 5 s')));
    call.on('error', (error) => finish(error.message));
  });
}

const count = Number(perSecond) * Number(seconds);
const begin = performance.now() + 100;
const pending: Promise<void>[] = [];
for (let i = 0; i < count; i++) {
  const due = begin + (i * 1000) / Number(perSecond);
  await sleep(Math.max(0, due - performance.now()));
  pending.push(probe(due));
}
await Promise.all(pending);
agent.destroy();
process.stdout.write(JSON.stringify(probes));
