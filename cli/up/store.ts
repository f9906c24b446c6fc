import { resourceKey, rolloutCommand } from '../../api/contract/names.ts';
import { LevadaError, type Problem } from '../../api/errors.ts';
import { show } from '../../api/rules.ts';
import { changedVersions } from '../../api/v1alpha1/model-deployment.ts';
import type { Resource, ResourceStatus } from '../../api/v1alpha1/resource.ts';
import type { Told } from '../../operator/engine/events.ts';
import { type Neighbours, neighboursIn } from '../../operator/plan/neighbours.ts';
import type { Store, Stored } from '../../operator/reconcile.ts';

/** The resources of a local run. Holds what the API server would: generation, status, time of creation. */
export class FileStore implements Store {
  readonly #resources = new Map<string, Resource>();
  /** Commands of people, by key. They are in no file, so an edit of one leaves them, unless it has a new one itself. */
  readonly #commands = new Map<string, { readonly text: string; readonly inFile: string | undefined }>();
  readonly #statusWritten: (key: string, status: ResourceStatus) => void;
  readonly #told: (resource: Resource, event: Told) => void;
  readonly #now: () => Date;

  constructor(
    now: () => Date,
    statusWritten: (key: string, status: ResourceStatus) => void,
    told: (resource: Resource, event: Told) => void,
  ) {
    this.#now = now;
    this.#statusWritten = statusWritten;
    this.#told = told;
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
      this.#commands.delete(key);
      changed.push(key);
    }
    for (const resource of next) {
      const key = resourceKey(resource);
      const before = this.#resources.get(key);
      const same = before !== undefined && JSON.stringify(before.spec) === JSON.stringify(resource.spec);
      const generation = (before?.metadata.generation ?? 0) + (same ? 0 : 1);
      const creationTimestamp = before?.metadata['creationTimestamp'] ?? this.#now().toISOString();
      const annotations = this.#annotationsOf(resource);
      const command = annotations?.[rolloutCommand];
      const metadata = {
        namespace: 'default',
        ...resource.metadata,
        ...(annotations && { annotations }),
        generation,
        creationTimestamp,
      };
      this.#resources.set(key, { ...resource, metadata, ...(before?.status && { status: before.status }) } as Resource);
      if (!same || command !== before.metadata.annotations?.[rolloutCommand]) changed.push(key);
    }
    if (changed.length === 0) return [];
    const pipelines = next.filter(({ kind }) => kind === 'EventPipeline').map((resource) => resourceKey(resource));
    return [...new Set([...changed, ...pipelines])];
  }

  /** Annotations of a file, as the API server would have them after a command of a person: the later one of both counts. */
  #annotationsOf(resource: Resource): Readonly<Record<string, string>> | undefined {
    const { annotations } = resource.metadata;
    const key = resourceKey(resource);
    const given = this.#commands.get(key);
    if (given?.inFile === annotations?.[rolloutCommand]) {
      return given ? { ...annotations, [rolloutCommand]: given.text } : annotations;
    }
    this.#commands.delete(key);
    return annotations;
  }

  /**
   * Takes a command of a person, as an annotation.
   *
   * @throws LevadaError UnknownResource
   */
  command(key: string, text: string): void {
    const resource = this.#resources.get(key);
    if (resource?.kind !== 'ModelDeployment') {
      const models = this.list().filter(({ kind }) => kind === 'ModelDeployment');
      const allowed = models.map((model) => resourceKey(model)).join(', ') || 'no model runs';
      throw new LevadaError('UnknownResource', { found: show(key), allowed });
    }
    const { annotations } = resource.metadata;
    const before = this.#commands.get(key);
    this.#commands.set(key, { text, inFile: before ? before.inFile : annotations?.[rolloutCommand] });
    const metadata = { ...resource.metadata, annotations: { ...annotations, [rolloutCommand]: text } };
    this.#resources.set(key, { ...resource, metadata });
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

  async tell(resource: Resource, events: readonly Told[]): Promise<void> {
    for (const event of events) this.#told(resource, event);
  }

  async writeStatus(of: Resource, status: ResourceStatus): Promise<void> {
    const key = resourceKey(of);
    const resource = this.#resources.get(key);
    if (!resource) return; // removed meanwhile
    this.#resources.set(key, { ...resource, status } as Resource);
    this.#statusWritten(key, status);
  }
}
