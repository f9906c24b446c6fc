/**
 * Thousands of orders, while the inventory is killed again and again. A ledger that is kept outside proves what became of
 * each: the client's answers, the handlers' own logs, a sink for every event, `levada dlq`, and the counts of the steps.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { describeExit, ensurePython, runPython } from '../../cli/python.ts';
import { missingLanguages, Shop } from '../support/shop.ts';
import { root } from '../support/up.ts';
import { until } from '../support/wait.ts';

/** Each kill costs a start and its pause of up to 10 s: were there no end to them, a slow machine would handle next to nothing. */
const { total, killsAtMost } = process.env['LEVADA_PROVE']
  ? { total: 10_000, killsAtMost: 20 } // npm run prove -- local
  : { total: 3_000, killsAtMost: 8 };
const seed = Number(process.env['LEVADA_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

interface Posted {
  readonly order: { readonly items: readonly string[] };
  readonly status: number;
  readonly order_id?: string;
}
interface Sunk {
  readonly type: string;
  readonly id: string;
  readonly data: { readonly order_id: string; readonly fraud?: number };
}
interface Handled {
  readonly order_id: string;
  readonly pid: number;
  readonly outcome: string;
}

const lines = <T>(file: string): T[] =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as T)
    : [];

/** How often each key is there. */
function tally<T>(entries: readonly T[], key: (entry: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const entry of entries) counts.set(key(entry), (counts.get(key(entry)) ?? 0) + 1);
  return counts;
}

const sunkTypes = [
  'stock.reserved',
  'stock.rejected',
  'shipment.booked',
  'order.scored',
  'order.enriched',
  'order.flagged',
];
const sinkSteps = sunkTypes
  .map((type) => `  - { name: to-${type.replace('.', '-')}, consumes: [${type}], http: { url: http://sink/ } }\n`)
  .join('');

const missing = missingLanguages();

test(`${total} orders with the inventory killed at random: each has one end at each step`, {
  timeout: 600_000,
}, async (context) => {
  if (missing !== undefined) {
    if (process.env['CI']) throw new Error(missing);
    context.skip(missing);
  }
  console.log(`seed ${seed}`);
  let sink: ChildProcess | undefined;
  let folder = '';
  await using shop = await Shop.start(async (workspace) => {
    folder = workspace.folder;
    sink = spawn(process.execPath, [join(root, 'test/support/sink.ts'), join(folder, 'sink.jsonl')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [port] = (await once(sink.stdout!, 'data')) as [Buffer];
    const yaml = readFileSync(join(folder, 'shop/shop.yaml'), 'utf8');
    const local = readFileSync(join(folder, 'shop/levada.local.yaml'), 'utf8');
    const env = (name: string) => `    env: { ${name}: ${JSON.stringify(join(folder, `${name}.jsonl`))} }\n`;
    // The memory of one run is a store that all steps of a laptop share.
    const remembering = yaml.replace(/^ {2}- name: (inventory|shipping)\b.*\n/gm, '$&    idempotency: {}\n');
    await workspace.write('shop/shop.yaml', remembering.replace('---\n', `${sinkSteps}---\n`));
    await workspace.write(
      'shop/levada.local.yaml',
      `${local.replace('  inventory:\n', `$&${env('INVENTORY_LEDGER')}`).replace(/ {2}orders-shipping:.*\n/, `$&${env('SHIPPING_LEDGER')}`)}hosts: { sink: "http://127.0.0.1:${String(port).trim()}" }\n`,
    );
  });
  try {
    const inventoryLedger = join(folder, 'INVENTORY_LEDGER.jsonl');
    const posted = await postAll(shop, folder, inventoryLedger);
    const accepted = posted.filter(({ status }) => status === 200);
    expect(posted).toHaveLength(total);
    // Nothing of this stands in the way of taking orders.
    expect(tally(posted, ({ status }) => String(status))).toEqual(new Map([['200', total]]));
    const ids = new Set(accepted.map(({ order_id }) => order_id));
    expect(ids.size).toBe(total);

    let steps = await shop.idle(180_000);
    const dead = await shop.deadLetters();
    const killed = new Set(lines<Handled>(inventoryLedger).map(({ pid }) => pid)).size - 1;
    console.log(`${killed} kills, ${dead.length} dead letters, ${steps['inventory']?.counts?.retried} retries`);
    expect(killed).toBeGreaterThan(5);
    await checkEnds({ accepted, sunk: lines<Sunk>(join(folder, 'sink.jsonl')), dead, folder });
    for (const [name, step] of Object.entries(steps)) {
      const { done = 0, skipped = 0, duplicate = 0, dead: died = 0 } = step.counts ?? {};
      const given = givenTo(name, { accepted: accepted.length, sunk: lines<Sunk>(join(folder, 'sink.jsonl')) });
      expect([name, done + skipped + duplicate + died], name).toEqual([name, given]);
      expect(step.dead, name).toBe(died);
    }
    await checkScores(accepted, lines<Sunk>(join(folder, 'sink.jsonl')), folder);

    // The inventory refuses nothing any more: everything that died comes back, and ends as it should have.
    await writeFile(join(folder, 'shop/services/faults.py'), 'def provoke(*_):\n    return False\n');
    const from = shop.running.output.length;
    const local = readFileSync(join(folder, 'shop/levada.local.yaml'), 'utf8');
    await shop.workspace.write('shop/levada.local.yaml', local.replace('INVENTORY_LEDGER:', 'MENDED: "1", $&'));
    await shop.running.says('inventory (Python) listens', { from });
    const { stdout } = await shop.workspace.levada('dlq', 'orders', 'replay', '--all', '-o', 'json');
    expect(JSON.parse(stdout)).toEqual({ replayed: dead.length });
    steps = await shop.idle(120_000);
    expect(await shop.deadLetters()).toEqual([]);
    await checkEnds({ accepted, sunk: lines<Sunk>(join(folder, 'sink.jsonl')), dead: [], folder });
  } finally {
    sink?.kill('SIGKILL');
    await rm(join(folder, 'sink.jsonl'), { force: true });
  }
});

/** Posts all orders, and kills the inventory at random meanwhile. */
async function postAll(shop: Shop, folder: string, ledger: string): Promise<Posted[]> {
  const url = `${shop.services['orders-api']}/orders/`;
  const client = spawn(
    process.execPath,
    [join(root, 'test/support/orders-client.ts'), url, String(total), '64', String(seed), '0.01'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const posted: Posted[] = [];
  createInterface({ input: client.stdout! }).on('line', (line) => {
    appendFileSync(join(folder, 'posted.jsonl'), `${line}\n`);
    posted.push(JSON.parse(line) as Posted);
  });
  const ended = once(client, 'close');
  let over = false;
  const killing = (async () => {
    const victims = new Set<number>();
    while (!over && victims.size < killsAtMost) {
      await pause(100 + Math.random() * 900);
      const pid = lastPid(ledger);
      if (pid === undefined || victims.has(pid)) continue; // the next one has not handled anything yet
      victims.add(pid);
      process.kill(pid, 'SIGKILL');
    }
  })();
  await ended;
  // Orders are taken faster than they are handled: the killing goes on while they are.
  await until('most are handled', async () => ((await shop.steps())['inventory']?.waiting ?? 0) < total / 10, {
    timeoutMs: 300_000,
  });
  over = true;
  await killing;
  return posted;
}

function lastPid(ledger: string): number | undefined {
  if (!existsSync(ledger)) return undefined;
  const text = readFileSync(ledger, 'utf8');
  const line = text.slice(text.lastIndexOf('\n', text.length - 2) + 1);
  try {
    return (JSON.parse(line) as Handled).pid;
  } catch {
    return undefined; // it is being written
  }
}

interface Ends {
  readonly accepted: readonly Posted[];
  readonly sunk: readonly Sunk[];
  readonly dead: ReadonlyArray<{ readonly step: string; readonly data?: unknown }>;
  readonly folder: string;
}

/** Every accepted order has exactly one end at each step that it reaches, and nothing else is anywhere. */
async function checkEnds({ accepted, sunk, dead, folder }: Ends): Promise<void> {
  const emitted = tally(sunk, ({ type, data }) => `${type} ${data.order_id}`);
  const repeated = [...emitted].filter(([, count]) => count > 1).map(([key]) => key);
  expect(repeated).toEqual([]);
  const deadAt = tally(dead, ({ step, data }) => `${step} ${(data as { order_id: string }).order_id}`);
  const handled = (file: string) => new Set(lines<Handled>(join(folder, file)).map(({ order_id }) => order_id));
  const inventory = handled('INVENTORY_LEDGER.jsonl');
  const shipping = handled('SHIPPING_LEDGER.jsonl');
  const wrong: string[] = [];
  const ids = new Set(accepted.map(({ order_id }) => order_id));
  for (const { data } of sunk) if (!ids.has(data.order_id)) wrong.push(`${data.order_id} was never accepted`);
  for (const { order_id: id, order } of accepted) {
    const has = (type: string) => (emitted.get(`${type} ${id}`) ?? 0) > 0;
    const died = (step: string) => (deadAt.get(`${step} ${id}`) ?? 0) > 0;
    const isRare = order.items.some((item) => item.startsWith('rare'));
    const checks: Record<string, boolean> = {
      'inventory: one of reserved, rejected, dead':
        Number(has('stock.reserved')) + Number(has('stock.rejected')) + Number(died('inventory')) === 1,
      'inventory: rejected only what is rare': !has('stock.rejected') || isRare,
      'inventory: its own log has it': inventory.has(id ?? '') || died('inventory'),
      'shipping: booked or dead, if reserved': has('stock.reserved') === (has('shipment.booked') !== died('shipping')),
      'shipping: its own log has it': !has('shipment.booked') || shipping.has(id ?? ''),
      'score: scored': has('order.scored') !== died('score'),
      'enrich: enriched': has('order.scored') === (has('order.enriched') !== died('enrich')),
    };
    for (const [name, isSo] of Object.entries(checks)) if (!isSo) wrong.push(`${id} ${JSON.stringify(order)}: ${name}`);
  }
  expect(wrong).toEqual([]);
}

/** Messages that a step was given. */
function givenTo(step: string, { accepted, sunk }: { accepted: number; sunk: readonly Sunk[] }): number {
  const of = (type: string) => sunk.filter((entry) => entry.type === type).length;
  const fixed: Record<string, number> = {
    inventory: accepted,
    score: accepted,
    shipping: of('stock.reserved'),
    enrich: of('order.scored'),
    flag: of('order.scored'),
  };
  return fixed[step] ?? of(step.replace(/^to-/, '').replace('-', '.'));
}

/** Every score is scikit-learn's. */
async function checkScores(accepted: readonly Posted[], sunk: readonly Sunk[], folder: string): Promise<void> {
  const python = await ensurePython('models', { onProgress: () => {} });
  const file = join(folder, 'orders.json');
  await writeFile(file, JSON.stringify(accepted.map(({ order }) => order)));
  const run = await runPython(python, [join(root, 'test/support/fraud_scores.py'), file], { timeoutMs: 120_000 });
  if (run.status !== 0) throw new Error(`fraud_scores.py ${describeExit(run)}:\n${run.stderr.join('\n')}`);
  const expected = JSON.parse(run.stdout) as number[];
  const scores = new Map(
    sunk.filter(({ type }) => type === 'order.scored').map(({ data }) => [data.order_id, data.fraud ?? Number.NaN]),
  );
  const off = accepted.map(({ order_id }, index) =>
    Math.abs((scores.get(order_id ?? '') ?? Number.NaN) - expected[index]!),
  );
  expect(off.filter((difference) => !(difference <= 1e-5))).toEqual([]);
  const flagged = sunk.filter(({ type }) => type === 'order.flagged').map(({ data }) => data.order_id);
  const above = [...scores].filter(([, fraud]) => fraud > 0.5).map(([id]) => id);
  expect(flagged.sort()).toEqual(above.sort());
}
