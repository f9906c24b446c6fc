import type { Answers, Pauses } from './asked.ts';
import { PodStatuses } from './asked.ts';
import type { Copy } from './copies.ts';
import { hasEnded } from './failures.ts';
import type { LivePod } from './types.ts';

export interface OwnedPodsOptions<S> {
  /** Its value is the name of the owner. */
  readonly label: string;
  readonly answers: Answers<S>;
  readonly pauses?: Pauses;
  /** What is known of the pods of an owner has changed. */
  readonly changed: (namespace: string, owner: string) => void;
  /** What a pod says has changed. */
  readonly said?: (pod: LivePod, now: S, before: S | undefined) => void;
  /** The processes of a pod have ended, for good or to be started again. @param last what they said last */
  readonly ended?: (pod: LivePod, last: S) => void;
}

/** Pods by their owners, and what they say of themselves. One whose processes have ended for good is none any more. */
export class OwnedPods<S> {
  readonly #options: OwnedPodsOptions<S>;
  readonly #of = new Map<string, Map<string, LivePod>>();
  readonly #statuses: PodStatuses<S>;

  constructor(copy: Pick<Copy<LivePod>, 'onChange'>, options: OwnedPodsOptions<S>) {
    const { answers, pauses, said } = options;
    this.#options = options;
    const told = {
      changed: (pod: LivePod, now: S, before: S | undefined) => {
        said?.(pod, now, before);
        this.#tell(pod);
      },
      silenced: (pod: LivePod) => this.#tell(pod),
    };
    this.#statuses = new PodStatuses(answers, told, pauses);
    copy.onChange((now, before) => this.#index(unlessEnded(now), unlessEnded(before)));
  }

  of(namespace: string, owner: string): LivePod[] {
    return [...(this.#of.get(`${namespace}/${owner}`)?.values() ?? [])];
  }

  statusOf(uid: string): S | undefined {
    return this.#statuses.get(uid);
  }

  /** As {@link PodStatuses.silenceOf}. */
  silenceOf(uid: string): string | undefined {
    return this.#statuses.silenceOf(uid);
  }

  /** Asks all pods of an owner now. Never rejects. */
  refresh(namespace: string, owner: string): Promise<void> {
    return this.#statuses.refresh(this.of(namespace, owner));
  }

  /** A pod has been told something, and has said what that changes of its status. */
  took(uid: string, change: (status: S) => S): void {
    this.#statuses.took(uid, change);
  }

  /** Resolves when all pods of an owner have been asked once. Never rejects, and takes 2 s at most. */
  known(namespace: string, owner: string): Promise<void> {
    return this.#statuses.known(this.of(namespace, owner));
  }

  /** Pods of an owner that have not been asked are asked soon. */
  hurry(namespace: string, owner: string): void {
    this.#statuses.hurry(this.of(namespace, owner));
  }

  close(): void {
    this.#statuses.close();
  }

  #index(now: LivePod | undefined, before: LivePod | undefined): void {
    const pod = now ?? before;
    if (!pod) return; // it had ended before
    const { namespace = '', labels = {}, uid = '' } = pod.metadata;
    const owner = labels[this.#options.label];
    if (owner === undefined) return; // another kind's
    const key = `${namespace}/${owner}`;
    const last = this.#statuses.get(uid);
    const isOver = !now || (before !== undefined && restarts(now) > restarts(before));
    if (isOver && last !== undefined) this.#options.ended?.(pod, last);
    const all = this.#of.get(key) ?? new Map<string, LivePod>();
    // What another process has said is not what this one says.
    if (isOver && now) this.#statuses.remove(now);
    if (now) {
      all.set(uid, now);
      this.#of.set(key, all);
      this.#statuses.put(now);
    } else {
      all.delete(uid);
      if (all.size === 0) this.#of.delete(key);
      this.#statuses.remove(pod);
    }
    this.#tell(pod);
  }

  #tell({ metadata: { namespace = '', labels = {} } }: LivePod): void {
    this.#options.changed(namespace, labels[this.#options.label] ?? '');
  }
}

const unlessEnded = (pod: LivePod | undefined): LivePod | undefined => (pod && !hasEnded(pod) ? pod : undefined);

const restarts = ({ status }: LivePod): number =>
  (status?.containerStatuses ?? []).reduce((sum, { restartCount = 0 }) => sum + restartCount, 0);
