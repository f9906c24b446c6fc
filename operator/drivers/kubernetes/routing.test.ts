import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, it } from 'vitest';
import { versionLabel } from '../../objects/labels.ts';
import { newSigningKey, signerOf } from '../routing/signing.ts';
import { type ClusterPeer, ClusterRouting, peerOf } from './routing.ts';
import type { LivePod } from './types.ts';

const podOf = (ready: 'True' | 'False', phase = 'Running'): LivePod => ({
  metadata: { namespace: 'default', name: 'iris-v2-a', uid: 'u', labels: { [versionLabel]: 'v2' } },
  status: { phase, podIP: '10.0.0.2', conditions: [{ type: 'Ready', status: ready }] },
});
const address = 'tcp://10.0.0.2:8082';

it('a pod is in the table by what it says itself, and by what the kubelet says while it has not answered', () => {
  expect(peerOf(podOf('False'), { state: 'Loaded' })).toMatchObject({ address, isReady: true });
  expect(peerOf(podOf('True'), { state: 'Loading' })).not.toHaveProperty('address');
  expect(peerOf(podOf('True'), undefined)).toMatchObject({ address, isReady: true });
  expect(peerOf(podOf('False'), undefined)).not.toHaveProperty('address');
  expect(peerOf(podOf('True', 'Failed'), { state: 'Loaded' })).toBeUndefined();
});

it('what a pod answers when it is told is what is known of it: it may not answer another question', async () => {
  const asked: string[] = [];
  const server = createServer((req, res) => {
    asked.push(`${req.method} ${req.url}`);
    const candidate = { version: 'v2', weight: 0 };
    if (req.method === 'PUT') res.end(JSON.stringify({ generation: 2, candidate }));
    else res.writeHead(503).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const took: unknown[] = [];
  const signer = signerOf(newSigningKey());
  const routing = new ClusterRouting({
    signer: async () => signer,
    log: () => {},
    changed: () => {},
    askSteps: async () => [],
    took: (uid, said) => void took.push({ uid, ...said }),
  });
  const peer = (uid: string, generation: number): ClusterPeer => ({
    ...{ uid, version: 'v1', name: uid, isReady: true, routing: { generation } },
    admin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  });
  const table = {
    ...{ resource: 'default/iris', generation: 2, stable: { version: 'v1' }, salt: 'v1/v2' },
    ...{ candidate: { version: 'v2', weight: 0 }, addresses: { v2: [] } },
  };
  await routing.tell('ModelDeployment/default/iris', signer.sign(table), [peer('a', 1)]);
  expect(took).toEqual([{ uid: 'a', generation: 2, candidate: { version: 'v2', weight: 0 } }]);
  expect(asked).toEqual(['PUT /routing']);
  routing.close();
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});
