import { expect, it } from 'vitest';
import { versionLabel } from '../../objects/labels.ts';
import { peerOf } from './routing.ts';
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
