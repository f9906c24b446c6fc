/**
 * What `npm start` shows: the shop runs here, one order is posted, and its journey is printed, with a score that is the
 * same as scikit-learn's. `npm start -- --once` ends after that.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { resourceKey } from '../api/contract/names.ts';
import type { Resource } from '../api/v1alpha1/resource.ts';
import { printError } from '../cli/output.ts';
import { UpRun } from '../cli/up/run.ts';
import { endOnSignals } from '../cli/up.ts';
import { type Loaded, loadPaths } from '../operator/source/load.ts';
import { Journey, journeyLines } from './journey.ts';

const example = 'examples/shop';
const started = performance.now();
process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
try {
  await main();
} catch (error) {
  printError(error);
  process.exit(1);
}

async function main(): Promise<void> {
  const loaded = await loadPaths([example]);
  const pipeline = loaded.resources.map(({ resource }) => resource).find(({ kind }) => kind === 'EventPipeline');
  if (pipeline?.kind !== 'EventPipeline') throw new Error(`${example} holds no EventPipeline`);
  const journey = new Journey(pipeline);
  const ready = whenReady(loaded);
  const run = await UpRun.start(loaded, {
    paths: [example],
    ports: {},
    replicas: false,
    stdout: process.stdout,
    onStatus: ready.onStatus,
    onEnd: (end) => journey.add(end),
  });
  endOnSignals(run);
  try {
    await ready.all;
    await postOrder(run, journey);
  } catch (error) {
    await run.stop();
    throw error;
  }
  if (values.once) {
    await run.stop();
    process.exit(0);
  }
}

/** Resolves when every resource is Ready; rejects when one is stalled. */
function whenReady({ resources }: Loaded): { all: Promise<void>; onStatus: (resource: Resource) => void } {
  const waiting = new Set(resources.map(({ resource }) => resourceKey(resource)));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  return {
    all: promise,
    onStatus(resource) {
      const is = (type: string) => resource.status?.conditions.find((condition) => condition.type === type);
      if (is('Stalled')?.status === 'True') reject(new Error(is('Stalled')?.message));
      if (is('Ready')?.status !== 'True') return;
      waiting.delete(resourceKey(resource));
      if (waiting.size === 0) resolve();
    },
  };
}

interface Expected {
  tolerance: number;
  orders: Array<{ order: object; fraud: number }>;
}

/** @throws Error when the journey is not the one that is expected */
async function postOrder(run: UpRun, journey: Journey): Promise<void> {
  const { orders, tolerance } = JSON.parse(await readFile(`${example}/expected/orders.json`, 'utf8')) as Expected;
  const [first] = orders;
  if (!first) throw new Error(`${example}/expected/orders.json has no order`);
  const services = Object.assign({}, ...run.resources().map((found) => found.services)) as Record<string, string>;
  const url = `${services['orders-api']}/orders/`;
  const body = JSON.stringify(first.order);
  const traceId = randomBytes(16).toString('hex');
  journey.follow(traceId, 'order.created');
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-01` },
    body,
    signal: AbortSignal.timeout(10_000),
  });
  const answer = await response.text();
  if (!response.ok) throw new Error(`the answer to ${body} was ${response.status} ${answer}`);
  await Promise.race([
    journey.finished,
    new Promise((_, reject) => {
      setTimeout(
        () =>
          reject(new Error(`after 30 s the order had come no further than:\n${journeyLines(journey.ends).join('\n')}`)),
        30_000,
      ).unref();
    }),
  ]);
  const seconds = ((performance.now() - started) / 1000).toFixed(2);
  compareScore(journey, first.fraud, tolerance);
  const text = `
An order, from the request to the last event:

  POST ${url}  ${body}
  ${response.status}  ${answer}

${journeyLines(journey.ends).join('\n')}

The fraud score is scikit-learn's. The order's journey ended ${seconds} s after the start.

What runs:
${Object.entries(services)
  .map(([name, address]) => `  ${name.padEnd(18)} ${address}`)
  .join('\n')}

Try next:
  curl -H 'content-type: application/json' -d '${body}' ${url}
  curl -H 'content-type: application/json' -d '{"items":["fault:400"],"total_amount":1,"user_id":1}' ${url}
  npx levada dlq orders ls                that order: the handler refused it
  npx levada status orders                each step: rate, backlog, dead letters, breaker
  edit ${example}/shop.yaml           edits are taken up while it runs, and lose no message
`;
  for (const line of text.split('\n')) run.line(line);
}

/** @throws Error when the model's answer is not scikit-learn's */
function compareScore(journey: Journey, expected: number, tolerance: number): void {
  const scored = journey.ends.flatMap(({ emits }) => emits).find(({ type }) => type === 'order.scored');
  const data = scored && (JSON.parse(Buffer.from(scored.data).toString('utf8')) as { fraud?: number });
  if (data?.fraud !== undefined && Math.abs(data.fraud - expected) < tolerance) return;
  throw new Error(`the fraud score was ${data?.fraud}; scikit-learn says ${expected}`);
}
