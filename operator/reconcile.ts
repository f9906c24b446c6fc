import { isDeepStrictEqual } from 'node:util';
import type { ModelDeployment, ModelDeploymentStatus } from '../api/v1alpha1/model-deployment.ts';
import type { Driver } from './drivers/driver.ts';
import { plan } from './plan/plan.ts';
import { nothing } from './plan/units.ts';

/** Where resources and their status are: a set of files here, the API server on a cluster. */
export interface Store {
  get(key: string): Promise<ModelDeployment | undefined>;
  writeStatus(key: string, status: ModelDeploymentStatus): Promise<void>;
}

/**
 * One look at one resource: observe, plan, apply, and then, once, the status. What is there decides, not what has
 * happened. Called again when nothing has changed, it writes nothing.
 */
export async function reconcile(key: string, store: Store, driver: Driver, now: () => Date): Promise<void> {
  const resource = await store.get(key);
  if (!resource) {
    await driver.apply(key, nothing);
    return;
  }
  const observed = await driver.observe(key);
  const { units, fronts, status } = plan(resource, observed, now().toISOString());
  await driver.apply(key, { units, fronts });
  if (!isDeepStrictEqual(status, resource.status)) await store.writeStatus(key, status);
}
