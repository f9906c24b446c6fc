import { describe, expect, it } from 'vitest';
import { resourceKey, rolloutCommand } from '../../api/contract/names.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { iris } from '../../operator/plan/model/testing.ts';
import { FileStore } from './store.ts';

const key = resourceKey(iris());
const annotated = (annotations: Record<string, string>, spec: object = {}): ModelDeployment => {
  const resource = iris(spec);
  return { ...resource, metadata: { ...resource.metadata, annotations } };
};

describe('a command of a person', () => {
  const storeOf = (resource: ModelDeployment): FileStore => {
    const store = new FileStore(
      () => new Date(),
      () => {},
      () => {},
    );
    store.replace([resource]);
    return store;
  };
  const annotations = async (store: FileStore) => (await store.get(key))?.resource.metadata.annotations;

  it('is beside the annotations of the file, and outlives its edits', async () => {
    const store = storeOf(annotated({ team: 'shop' }));
    store.command(key, 'pause/v2-1-0');
    expect(await annotations(store)).toEqual({ team: 'shop', [rolloutCommand]: 'pause/v2-1-0' });
    expect(store.replace([annotated({ team: 'shop' }, { replicas: 2 })])).toEqual([key]);
    expect(await annotations(store)).toEqual({ team: 'shop', [rolloutCommand]: 'pause/v2-1-0' });
    store.command(key, 'resume/v2-1-1');
    expect(store.replace([annotated({})])).toEqual([key]);
    expect(await annotations(store)).toEqual({ [rolloutCommand]: 'resume/v2-1-1' });
    expect((await store.get(key))?.resource.metadata.generation).toBe(3);
  });

  it('gives way to a later one in the file, which is seen though the spec is the same', async () => {
    const store = storeOf(annotated({ [rolloutCommand]: 'pause/v2-1-0' }));
    store.command(key, 'resume/v2-1-1');
    expect(store.replace([annotated({ [rolloutCommand]: 'pause/v2-1-0' })])).toEqual([]);
    expect(await annotations(store)).toEqual({ [rolloutCommand]: 'resume/v2-1-1' });
    expect(store.replace([annotated({ [rolloutCommand]: 'abort/v2-1-2' })])).toEqual([key]);
    expect(await annotations(store)).toEqual({ [rolloutCommand]: 'abort/v2-1-2' });
    expect((await store.get(key))?.resource.metadata.generation).toBe(1);
  });

  it('goes with its resource', async () => {
    const store = storeOf(iris());
    store.command(key, 'pause/v2-1-0');
    store.replace([]);
    store.replace([iris()]);
    expect(await annotations(store)).toBeUndefined();
    expect(() => store.command('ModelDeployment/default/rose', 'pause/v2-1-0')).toThrow(
      'no resource "ModelDeployment/default/rose"; allowed: ModelDeployment/default/iris',
    );
  });
});
