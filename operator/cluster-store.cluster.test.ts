import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ModelDeployment, ModelDeploymentStatus } from '../api/v1alpha1/model-deployment.ts';
import { type ControlPlane, startControlPlane } from '../hack/cluster.ts';
import { clientOf, installKinds, onCluster } from '../test/support/cluster.ts';
import { ClusterStore } from './cluster-store.ts';
import { modelDeployments } from './drivers/kubernetes/types.ts';
import type { KubeClient } from './engine/client.ts';
import { EventRecorder } from './engine/events.ts';
import type { StoredObject } from './engine/objects.ts';

type Live = ModelDeployment & StoredObject;

const namespace = 'default';

onCluster(() => {
  let plane: ControlPlane;
  let client: KubeClient;
  beforeAll(async () => {
    plane = await startControlPlane();
    client = clientOf(plane, plane.admin);
    await installKinds(client);
  });
  afterAll(async () => {
    await client.close();
    await plane.remove();
  });

  const read = (name: string) => client.get<Live>(modelDeployments, { namespace, name });
  const declare = (name: string, labels: Record<string, string> = {}) =>
    client.apply<Live>(
      modelDeployments,
      {
        metadata: { namespace, name, labels },
        spec: { versions: [{ name: 'v1', uri: 'file:///model' }] },
      } as StoredObject,
      { fieldManager: 'kubectl' },
    );
  const statusOf = (stableVersion: string): ModelDeploymentStatus => ({ stableVersion, conditions: [], versions: [] });

  /** Of a process whose copy is as old as the test says. */
  async function storeOf(name: string) {
    let copied = await read(name);
    const refresh = async () => {
      copied = await read(name);
    };
    const copy = {
      type: modelDeployments,
      get: () => copied,
      values: function* () {
        yield copied;
      },
      landed: refresh,
      onChange: () => {},
    };
    const events = new EventRecorder(client, { instance: 'test', now: () => new Date(), failed: () => {} });
    const store = new ClusterStore(client, [copy], events);
    const resource = async () => (await store.get(`ModelDeployment/${namespace}/${name}`))?.resource as Live;
    return { store, refresh, resource };
  }

  it('a status that somebody has written meanwhile is not overwritten from an older copy', async () => {
    await declare('fenced');
    const [old, leader] = [await storeOf('fenced'), await storeOf('fenced')];
    await leader.store.writeStatus(await leader.resource(), statusOf('v2'));
    const late = old.store.writeStatus(await old.resource(), statusOf('v1'));
    await expect(late).rejects.toMatchObject({ code: 'ClusterConflict' });
    expect((await read('fenced')).status?.stableVersion).toBe('v2');
    // What it has written itself is in its copy.
    await leader.store.writeStatus(await leader.resource(), statusOf('v3'));
    expect((await read('fenced')).status?.stableVersion).toBe('v3');
  });

  it('nor is it while what it was planned from was read before it came', async () => {
    await declare('late');
    const [old, leader] = [await storeOf('late'), await storeOf('late')];
    const planned = await old.resource();
    await leader.store.writeStatus(await leader.resource(), statusOf('v2'));
    await old.refresh();
    await expect(old.store.writeStatus(planned, statusOf('v1'))).rejects.toMatchObject({ code: 'ClusterConflict' });
  });

  it('a label or a finalizer that has come meanwhile keeps no status from being written', async () => {
    await declare('labelled');
    const leader = await storeOf('labelled');
    await leader.store.writeStatus(await leader.resource(), statusOf('v1'));
    const planned = await leader.resource();
    await declare('labelled', { team: 'shop' });
    await leader.refresh();
    await leader.store.writeStatus(planned, statusOf('v2'));
    expect((await read('labelled')).status?.stableVersion).toBe('v2');
  });

  it('one that was deleted meanwhile needs none', async () => {
    await declare('gone');
    const { store, resource } = await storeOf('gone');
    const planned = await resource();
    await client.call({
      method: 'DELETE',
      path: `/apis/${modelDeployments.apiVersion}/namespaces/${namespace}/modeldeployments/gone`,
    });
    await expect(store.writeStatus(planned, statusOf('v1'))).resolves.toBeUndefined();
  });
});
