import type { ResourceKind } from '../../api/v1alpha1/resource.ts';
import type { Driver } from './driver.ts';

/** One driver made of one a kind: an owner's key begins with its kind. */
export function driverByKind(drivers: Readonly<Record<ResourceKind, Driver>>): Driver {
  const all = Object.values(drivers);
  const of = (owner: string): Driver => drivers[owner.split('/', 1)[0] as ResourceKind];
  return {
    observe: (owner, resource) => of(owner).observe(owner, resource),
    check: async (owner, plan) => (await of(owner).check?.(owner, plan)) ?? [],
    apply: (owner, plan) => of(owner).apply(owner, plan),
    watch(changed) {
      for (const driver of all) driver.watch(changed);
    },
    async close() {
      for (const driver of all) await driver.close();
    },
  };
}
