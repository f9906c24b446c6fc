import { resourceKey } from '../../api/contract/names.ts';
import type { Problem } from '../../api/errors.ts';
import {
  changedVersions,
  type ModelDeployment,
  type ModelDeploymentStatus,
} from '../../api/v1alpha1/model-deployment.ts';
import type { Store } from '../../operator/reconcile.ts';

/** The resources of a local run. Holds what the API server would: generation, status, time of creation. */
export class FileStore implements Store {
  readonly #resources = new Map<string, ModelDeployment>();
  readonly #statusWritten: (key: string, status: ModelDeploymentStatus) => void;
  readonly #now: () => Date;

  constructor(now: () => Date, statusWritten: (key: string, status: ModelDeploymentStatus) => void) {
    this.#now = now;
    this.#statusWritten = statusWritten;
  }

  /** What the API server's transition rules would refuse in `next`. */
  refused(next: readonly ModelDeployment[]): Array<{ resource: ModelDeployment; problem: Problem }> {
    return next.flatMap((resource) => {
      const before = this.#resources.get(resourceKey(resource.metadata));
      return changedVersions(before?.spec.versions ?? [], resource.spec.versions).map((problem) => ({
        resource,
        problem,
      }));
    });
  }

  /** Takes the place of everything that was there. @returns keys of what was added, changed or removed */
  replace(next: readonly ModelDeployment[]): string[] {
    const changed: string[] = [];
    const keys = new Set(next.map(({ metadata }) => resourceKey(metadata)));
    for (const key of this.#resources.keys()) {
      if (keys.has(key)) continue;
      this.#resources.delete(key);
      changed.push(key);
    }
    for (const resource of next) {
      const key = resourceKey(resource.metadata);
      const before = this.#resources.get(key);
      const same = before !== undefined && JSON.stringify(before.spec) === JSON.stringify(resource.spec);
      const generation = (before?.metadata.generation ?? 0) + (same ? 0 : 1);
      const creationTimestamp = before?.metadata['creationTimestamp'] ?? this.#now().toISOString();
      const metadata = { namespace: 'default', ...resource.metadata, generation, creationTimestamp };
      this.#resources.set(key, { ...resource, metadata, ...(before?.status && { status: before.status }) });
      if (!same) changed.push(key);
    }
    return changed;
  }

  list(): ModelDeployment[] {
    return [...this.#resources.values()].toSorted((a, b) =>
      resourceKey(a.metadata).localeCompare(resourceKey(b.metadata)),
    );
  }

  async get(key: string): Promise<ModelDeployment | undefined> {
    return this.#resources.get(key);
  }

  async writeStatus(key: string, status: ModelDeploymentStatus): Promise<void> {
    const resource = this.#resources.get(key);
    if (!resource) return; // removed meanwhile
    this.#resources.set(key, { ...resource, status });
    this.#statusWritten(key, status);
  }
}
