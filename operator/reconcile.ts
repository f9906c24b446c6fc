import { isDeepStrictEqual } from 'node:util';
import type { Resource, ResourceStatus } from '../api/v1alpha1/resource.ts';
import type { Driver } from './drivers/driver.ts';
import type { Neighbours } from './plan/neighbours.ts';
import { plan } from './plan/plan.ts';
import { nothing } from './plan/units.ts';

/** Where resources and their status are: a set of files here, the API server on a cluster. */
export interface Store {
  get(key: string): Promise<Resource | undefined>;
  /** What a resource may refer to. */
  neighbours(resource: Resource): Promise<Neighbours>;
  writeStatus(key: string, status: ResourceStatus): Promise<void>;
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
  const neighbours = await store.neighbours(resource);
  const { status, ...wanted } = plan(resource, observed, neighbours, now().toISOString());
  await driver.apply(key, wanted);
  if (!isDeepStrictEqual(status, resource.status)) await store.writeStatus(key, status);
}
