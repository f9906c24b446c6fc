/** `levada dlq` against real brokers. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import type { LiveStep } from '../../cli/up/admin.ts';
import { freshVhost, onNewestRabbit } from '../support/rabbitmq.ts';
import { Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const count = 40;

const pipeline = {
  apiVersion: 'levada.dev/v1alpha1',
  kind: 'EventPipeline',
  metadata: { name: 'flow' },
  spec: {
    sources: [{ name: 'api', emits: 'thing', http: { path: '/' } }],
    steps: [
      { name: 'first', consumes: ['thing'], http: { url: 'http://handler/first' } },
      { name: 'first-v2', consumes: ['other'], http: { url: 'http://handler/second' } },
      { name: 'make', consumes: ['thing'], when: 'false', transform: '{% {} %}', emits: ['other'] },
    ],
  },
};

/** A handler that refuses everything while it is told to, and notes what it has taken. */
async function startHandler() {
  const state = { refuse: true, seen: [] as string[] };
  const server = createServer((req, res) => {
    let body = '';
    req.on('data', (chunk: Buffer) => {
      body += chunk.toString();
    });
    req.on('end', () => {
      if (!state.refuse) state.seen.push(`${req.url} ${(JSON.parse(body) as { n: number }).n}`);
      res.writeHead(state.refuse ? 422 : 204).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { state, port: (server.address() as AddressInfo).port, close: () => server.close() };
}

onNewestRabbit((broker) => {
  test('dead letters are filtered, counted, replayed at a rate and into another step; an interruption loses none', async () => {
    await using workspace = await Workspace.create();
    const handler = await startHandler();
    workspace.env['LEVADA_BROKER_URL'] = await freshVhost(broker);
    await workspace.write('flow/flow.json', pipeline);
    await workspace.write('flow/levada.local.yaml', { hosts: { handler: `http://127.0.0.1:${handler.port}` } });
    const up = workspace.spawn(['up', 'flow']);
    await up.says('flow: Running', { timeoutMs: 60_000 });
    const { services } = await workspace.get('flow');
    for (let n = 0; n < count; n++) {
      const response = await fetch(`${services['flow-api']}/`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ n }),
      });
      expect(response.status).toBe(202);
    }
    const dlq = (...args: string[]) => workspace.levada('dlq', 'flow', ...args);
    const numbers = async (...args: string[]) => {
      const { stdout, stderr, code } = await dlq(...args, '-o', 'json');
      if (code === 2) throw new Error(stderr);
      return JSON.parse(stdout) as Record<string, number>;
    };
    const left = () => workspace.ask<number>('/count', { pipeline: 'default/flow' });
    await until('all are dead letters', async () => (await left()) === count);
    expect(await numbers('replay', '--all', '--dry-run', '--where', 'n < 10')).toEqual({ matching: 10 });
    expect(await numbers('drop', '--all', '--dry-run', '--type', 'other')).toEqual({ matching: 0 });
    expect(await numbers('replay', '--all', '--dry-run')).toEqual({ matching: count });

    handler.state.refuse = false;
    expect(await numbers('replay', '--all', '--where', 'n < 10', '--to', 'first-v2')).toEqual({ replayed: 10 });
    await until('the other step has them', () => handler.state.seen.length === 10);
    expect(handler.state.seen.every((line) => line.startsWith('/second'))).toBe(true);
    expect(await dlq('replay', '--all', '--to', 'nobody')).toMatchObject({ code: 2 });

    const slow = workspace.spawn(['dlq', 'flow', 'replay', '--all', '--rate', '5']);
    await until('some are replayed', () => /\d+ of 30 replayed/.test(slow.output));
    await slow.interrupt();
    await until('what was replayed is handled', async () => 10 + (30 - (await left())) === handler.state.seen.length);
    expect(await left()).toBeGreaterThan(0);

    await numbers('replay', '--all');
    await until('all are handled', () => handler.state.seen.length === count);
    const handled = new Set(handler.state.seen.map((line) => line.split(' ')[1]));
    expect(handled.size).toBe(count);
    await until('nothing is left', async () => {
      const live = await workspace.ask<LiveStep[]>('/steps', { pipeline: 'default/flow' });
      return live.every(({ waiting, inFlight, dead }) => waiting + inFlight + dead === 0);
    });
    handler.close();
    expect((await up.interrupt()).code).toBe(0);
  });
});
