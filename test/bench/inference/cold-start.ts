import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../../operator/drivers/local/ports.ts';
import type { Context } from '../context.ts';
import { bodies, type ModelName, modelNames, rightAnswer } from '../iris.ts';
import type { Options } from '../options.ts';
import { serverCore, start } from '../process.ts';
import { type ServerName, servers } from '../servers.ts';
import { percentile, spread } from '../statistics.ts';
import { figure, markdownTable } from '../table.ts';

export interface ColdStart {
  server: ServerName;
  model: ModelName;
  round: number;
  /** From just before exec to the first right answer. */
  ms: number;
  /** What came before it, other than a refused connection or 503. */
  wrongEarly: string[];
}

const pollMs = 5;
const limitMs = 60_000;
const contenders = ['levada', 'fastapi-sklearn'] as const satisfies ServerName[];

/** Adds to `starts` as it goes. */
export async function measureColdStarts(
  context: Context,
  options: Options,
  names: readonly ServerName[],
  starts: ColdStart[],
): Promise<void> {
  const chosen = contenders.filter((name) => names.includes(name));
  // Round -1 only brings the files into the page cache.
  for (let round = -1; round < options.coldStarts; round++) {
    for (const server of chosen) {
      for (const model of modelNames) {
        const one = await coldStart(context, server, model, round);
        if (round >= 0) starts.push(one);
      }
    }
    if (round >= 0) console.error(`cold start  round ${round + 1}/${options.coldStarts}`);
  }
}

async function coldStart(context: Context, server: ServerName, model: ModelName, round: number): Promise<ColdStart> {
  const port = await freePort();
  const label = `cold-${server}-${model}-${round}`;
  const launch = await servers[server].launch(context, { model, port, label });
  const [body = ''] = await bodies('simple');
  const wrongEarly: string[] = [];
  const begin = performance.now();
  const started = start(launch, { logPath: join(context.dir, `${label}.log`), core: serverCore });
  try {
    for (let next = begin; performance.now() - begin < limitMs; ) {
      const answer = await post(port, body);
      const ms = performance.now() - begin;
      if (answer.status === 200 && rightAnswer('simple', model, 0, answer.text)) {
        return { server, model, round, ms, wrongEarly };
      }
      if (answer.status !== 503 && answer.text !== 'ECONNREFUSED') wrongEarly.push(`${answer.status} ${answer.text}`);
      if (started.exited()) throw new Error(`${server} ended while it started:\n${started.log()}`);
      next = Math.max(next + pollMs, performance.now());
      await sleep(Math.max(0, next - performance.now()));
    }
    throw new Error(`${server} ${model}: no right answer in ${limitMs / 1000} s:\n${started.log()}`);
  } finally {
    await started.stop();
  }
}

/** On a connection of its own, as the first caller's would be. Status 0: no answer, the text says why. */
function post(port: number, body: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const options = {
      host: '127.0.0.1',
      port,
      path: '/predict',
      method: 'POST',
      agent: false,
      headers,
      timeout: limitMs,
    };
    const call = request(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      response.on('error', (error: NodeJS.ErrnoException) => resolve({ status: 0, text: error.code ?? error.message }));
    });
    call.on('timeout', () => call.destroy(new Error('timeout')));
    call.on('error', (error: NodeJS.ErrnoException) => resolve({ status: 0, text: error.code ?? error.message }));
    call.end(body);
  });
}

export function coldStartTable(starts: readonly ColdStart[]): string {
  const groups = Map.groupBy(starts, ({ server, model }) => `${server} ${model}`);
  const rows = [...groups].map(([name, group]) => {
    const times = group.map(({ ms }) => ms);
    const { median, min, max } = spread(times);
    const wrong = group.reduce((sum, { wrongEarly }) => sum + wrongEarly.length, 0);
    const figures = [median, percentile(times, 0.95), min, max].map(figure);
    return [...name.split(' '), String(group.length), ...figures, String(wrong)];
  });
  return markdownTable(['server', 'model', 'starts', 'p50 ms', 'p95 ms', 'min', 'max', 'wrong early answers'], rows);
}
