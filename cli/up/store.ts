import { resourceKey } from '../../api/contract/names.ts';
import type { Problem } from '../../api/errors.ts';
import { changedVersions } from '../../api/v1alpha1/model-deployment.ts';
import type { Resource, ResourceStatus } from '../../api/v1alpha1/resource.ts';
import { type Neighbours, neighboursIn } from '../../operator/plan/neighbours.ts';
import type { Store, Stored } from '../../operator/reconcile.ts';

/** The resources of a local run. Holds what the API server would: generation, status, time of creation. */
export class FileStore implements Store {
  readonly #resources = new Map<string, Resource>();
  readonly #statusWritten: (key: string, status: ResourceStatus) => void;
  readonly #now: () => Date;

  constructor(now: () => Date, statusWritten: (key: string, status: ResourceStatus) => void) {
    this.#now = now;
    this.#statusWritten = statusWritten;
  }

  /** What the API server's transition rules would refuse in `next`. */
  refused(next: readonly Resource[]): Array<{ resource: Resource; problem: Problem }> {
    return next.flatMap((resource) => {
      const before = this.#resources.get(resourceKey(resource));
      if (before?.kind !== 'ModelDeployment' || resource.kind !== 'ModelDeployment') return [];
      return changedVersions(before.spec.versions, resource.spec.versions).map((problem) => ({
        resource,
        problem,
      }));
    });
  }

  /**
   * Takes the place of everything that was there.
   *
   * @returns keys of what was added, changed or removed, and of the pipelines, which may refer to it
   */
  replace(next: readonly Resource[]): string[] {
    const changed: string[] = [];
    const keys = new Set(next.map((resource) => resourceKey(resource)));
    for (const key of this.#resources.keys()) {
      if (keys.has(key)) continue;
      this.#resources.delete(key);
      changed.push(key);
    }
    for (const resource of next) {
      const key = resourceKey(resource);
      const before = this.#resources.get(key);
      const same = before !== undefined && JSON.stringify(before.spec) === JSON.stringify(resource.spec);
      const generation = (before?.metadata.generation ?? 0) + (same ? 0 : 1);
      const creationTimestamp = before?.metadata['creationTimestamp'] ?? this.#now().toISOString();
      const metadata = { namespace: 'default', ...resource.metadata, generation, creationTimestamp };
      this.#resources.set(key, { ...resource, metadata, ...(before?.status && { status: before.status }) } as Resource);
      if (!same) changed.push(key);
    }
    if (changed.length === 0) return [];
    const pipelines = next.filter(({ kind }) => kind === 'EventPipeline').map((resource) => resourceKey(resource));
    return [...new Set([...changed, ...pipelines])];
  }

  list(): Resource[] {
    return [...this.#resources.values()].toSorted((a, b) => resourceKey(a).localeCompare(resourceKey(b)));
  }

  /** What is refused never gets in. */
  async get(key: string): Promise<Stored | undefined> {
    const resource = this.#resources.get(key);
    return resource && { resource, problems: [] };
  }

  async neighbours({ metadata }: Resource): Promise<Neighbours> {
    return neighboursIn(metadata.namespace ?? 'default', [...this.#resources.values()]);
  }

  async writeStatus(of: Resource, status: ResourceStatus): Promise<void> {
    const key = resourceKey(of);
    const resource = this.#resources.get(key);
    if (!resource) return; // removed meanwhile
    this.#resources.set(key, { ...resource, status } as Resource);
    this.#statusWritten(key, status);
  }
}
