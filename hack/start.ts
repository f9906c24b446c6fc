/**
 * What `npm start` shows: the iris example runs here, one flower is classified, and the answer is scikit-learn's.
 * `npm start -- --once` ends after that.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { ModelDeployment } from '../api/v1alpha1/model-deployment.ts';
import { printError } from '../cli/output.ts';
import { UpRun } from '../cli/up/run.ts';
import { endOnSignals } from '../cli/up.ts';
import { loadPaths } from '../operator/source/load.ts';

const example = 'examples/iris';
const started = performance.now();
process.chdir(fileURLToPath(new URL('..', import.meta.url)));

interface Expected {
  classNames: string[];
  rows: Array<{ features: number[]; v1: { prediction: number } }>;
}

const { values } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
try {
  await main();
} catch (error) {
  printError(error);
  process.exit(1);
}

async function main(): Promise<void> {
  const loaded = await loadPaths([example]);
  const { promise: url, resolve, reject } = Promise.withResolvers<string>();
  const onStatus = ({ status }: ModelDeployment) => {
    const is = (type: string) => status?.conditions.find((condition) => condition.type === type);
    if (is('Ready')?.status === 'True' && status?.url) resolve(status.url);
    else if (is('Stalled')?.status === 'True') reject(new Error(is('Stalled')?.message));
  };
  const run = await UpRun.start(loaded, {
    paths: [example],
    ports: {},
    replicas: false,
    stdout: process.stdout,
    onStatus,
  });
  endOnSignals(run);
  try {
    await firstPrediction(run, await url);
  } catch (error) {
    await run.stop();
    throw error;
  }
  if (values.once) {
    await run.stop();
    process.exit(0);
  }
}

/** @throws Error when the answer is not scikit-learn's */
async function firstPrediction(run: UpRun, url: string): Promise<void> {
  const expected = JSON.parse(await readFile(`${example}/expected/rows.json`, 'utf8')) as Expected;
  const row = expected.rows[100];
  if (!row) throw new Error('examples/iris/expected/rows.json has no row 100');
  const body = JSON.stringify({ features: row.features });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${url}/predict`, {
    method: 'POST',
    headers,
    body,
    signal: AbortSignal.timeout(10_000),
  });
  const text = await response.text();
  const seconds = ((performance.now() - started) / 1000).toFixed(2);
  const { prediction, class_name: name } = JSON.parse(text) as { prediction?: number; class_name?: string };
  if (prediction !== row.v1.prediction || name !== expected.classNames[row.v1.prediction]) {
    throw new Error(`the answer to ${body} was ${response.status} ${text}; scikit-learn says ${row.v1.prediction}`);
  }
  const journey = `
A flower, classified by a random forest of 100 trees:

  POST ${url}/predict  ${body}
  ${response.status}  ${text}   the same as scikit-learn's answer

First right prediction ${seconds} s after the start.

Try next:
  curl -d '${body}' ${url}/predict
  curl ${url}/v2/models/iris
  npx levada status iris                  what runs, its addresses and metrics
  edit ${example}/iris.yaml: serve: v2    switches to the other model, without a failed request
`;
  for (const line of journey.split('\n')) run.line(line);
}
