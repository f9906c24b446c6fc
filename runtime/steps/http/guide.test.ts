import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { freePort } from '../../../operator/drivers/local/ports.ts';
import { until } from '../../../test/support/wait.ts';
import { parseReply } from '../../events/cloudevents.ts';
import { contextOf, environment, eventOf } from '../testing.ts';
import { httpStep } from './http.ts';

const guide = await readFile(join(import.meta.dirname, '../../../docs/guides/handlers.md'), 'utf8');

/** The blocks of a language, without the fences. */
const blocks = (language: string): string[] =>
  [...guide.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
    .filter(([, found]) => found === language)
    .map(([, , text = '']) => text);

test("the guide's replies are replies", () => {
  const binary = blocks('').filter((text) => text.startsWith('HTTP/1.1 200'));
  const events = binary.map((text) => {
    const [head = '', body = ''] = text.trim().split('\n\n');
    const headers = Object.fromEntries(
      head
        .split('\n')
        .slice(1)
        .map((line) => line.split(': ') as [string, string]),
    );
    return parseReply({ headers, body: Buffer.from(body) }, '');
  });
  expect(events).toMatchObject([
    [{ data: { order_id: 'o-1', reserved: true } }],
    [{ type: 'stock.reserved', id: 'o-1-reserved', data: { order_id: 'o-1' } }],
  ]);
  const [structured = ''] = blocks('json');
  const headers = { 'content-type': 'application/cloudevents+json' };
  expect(parseReply({ headers, body: Buffer.from(structured) }, '')).toEqual(events[1]);
});

const python = process.env['LEVADA_PYTHON'] ?? 'python3';
const hasPython = spawnSync(python, ['--version']).status === 0;

test.skipIf(!hasPython)(`the guide's handler works (skipped without Python: ${python})`, async () => {
  const port = await freePort();
  const [program = ''] = blocks('python');
  const child = spawn(python, ['-c', program], { env: { ...process.env, PORT: String(port) }, stdio: 'ignore' });
  const step = httpStep({ kind: 'http', url: `http://127.0.0.1:${port}/reserve`, timeoutMs: 30_000 }, environment);
  try {
    const run = (data: unknown, idempotencyKey: string) => step.run(eventOf(data), contextOf({ idempotencyKey }));
    const first = await until('it listens', () => run({ order_id: 'o-1', items: [7, 9] }, 'k1'));
    const reserved = {
      id: 'e-1-stock',
      source: '/inventory',
      type: 'stock.reserved',
      extensions: {},
      data: { order_id: 'o-1' },
    };
    expect(first).toEqual([reserved]);
    expect(await run({ order_id: 'another', items: [13] }, 'k1')).toEqual([reserved]);
    expect(await run({ order_id: 'o-2', items: [13] }, 'k2')).toMatchObject([{ type: 'stock.rejected' }]);
    await expect(run({ order_id: 'o-3' }, 'k3')).rejects.toMatchObject({
      code: 'HandlerRejected',
      message: 'the handler answered 422: {"detail": "an order has items"}',
    });
  } finally {
    await step.close();
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
