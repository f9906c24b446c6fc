import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';

const pipeline = {
  apiVersion: 'levada.dev/v1alpha1',
  kind: 'EventPipeline',
  metadata: { name: 'flow' },
  spec: {
    sources: [{ name: 'api', emits: 'thing', http: { path: '/' } }],
    steps: [{ name: 'one', consumes: ['thing'], transform: '{% {} %}', emits: ['other'] }],
  },
};

it('a source whose broker was never there answers so', async () => {
  // It takes connections and ends them: nobody else gets the port meanwhile.
  const nobody = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(nobody, 'listening');
  try {
    await using workspace = await Workspace.create();
    await workspace.write('flow/flow.json', pipeline);
    const { port } = nobody.address() as AddressInfo;
    const up = workspace.spawn(['up', 'flow', '--broker', `amqp://127.0.0.1:${port}`]);
    await up.says('flow: BrokerUnavailable', { timeoutMs: 60_000 });
    const url = await until('it has an address', async () => (await workspace.get('flow')).services['flow-api']);
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(`${url}/`, { method: 'POST', headers, body: '{}' });
    expect([answer.status, answer.headers.get('x-levada-error')]).toEqual([503, 'BrokerUnavailable']);
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    await up.interrupt();
  } finally {
    nobody.close();
  }
});
