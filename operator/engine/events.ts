import type { Condition } from '../../api/v1alpha1/common.ts';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import type { KubeClient } from './client.ts';
import { microTime } from './elector.ts';
import { pathOf, type ResourceType, type StoredMetadata } from './objects.ts';

const events: ResourceType = { apiVersion: 'events.k8s.io/v1', kind: 'Event', plural: 'events' };
/** Bytes of a note, as the API server counts what events.k8s.io/v1 allows. */
const longestNote = 1_024;

export interface RecorderOptions {
  /** Of this process. */
  readonly instance: string;
  readonly now: () => Date;
  /** Told of each event that could not be written: nothing depends on it. */
  readonly failed: (error: unknown) => void;
}

/** What an event is about. */
export type Regarded = Pick<Resource, 'apiVersion' | 'kind' | 'metadata'>;

export interface Told {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** Writes an event where the condition `Ready` has changed: what `kubectl describe` and `kubectl events` show. */
export class EventRecorder {
  readonly #client: KubeClient;
  readonly #options: RecorderOptions;

  constructor(client: KubeClient, options: RecorderOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** Never rejects. @param before conditions as they were */
  async transition(resource: Resource, before: readonly Condition[], now: readonly Condition[]): Promise<void> {
    for (const { status, reason, message } of transitions(before, now)) {
      const isNormal = status === 'True' || reason === 'Progressing';
      await this.tell(resource, { type: isNormal ? 'Normal' : 'Warning', reason, message });
    }
  }

  /** Never rejects. */
  async tell({ apiVersion, kind, metadata }: Regarded, { type, reason, message }: Told): Promise<void> {
    const { instance, now, failed } = this.#options;
    const { name, namespace = '', uid, resourceVersion } = metadata as StoredMetadata;
    try {
      await this.#client.call({
        method: 'POST',
        path: pathOf(events, { namespace }),
        body: {
          apiVersion: events.apiVersion,
          kind: events.kind,
          metadata: { generateName: `${name}-`, namespace },
          eventTime: microTime(now()),
          type,
          reason,
          note: firstBytes(message, longestNote),
          action: 'Reconcile',
          reportingController: 'levada.dev/operator',
          reportingInstance: instance,
          regarding: { apiVersion, kind, name, namespace, uid, resourceVersion },
        },
      });
    } catch (error) {
      failed(error);
    }
  }
}

/** `Ready`, where its status or its reason is another one. */
export function transitions(before: readonly Condition[], now: readonly Condition[]): Condition[] {
  const [was, is] = [before, now].map((all) => all.find(({ type }) => type === 'Ready'));
  return is && (was?.status !== is.status || was.reason !== is.reason) ? [is] : [];
}

/** As much of it as fits, in whole characters. */
function firstBytes(text: string, bytes: number): string {
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(bytes));
  return text.slice(0, read);
}
