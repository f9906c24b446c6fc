import { containerPorts } from '../../../api/contract/names.ts';
import { askAdmin } from '../admin-port.ts';
import type { LivePod } from './types.ts';

/** What pods of one kind say of themselves. */
export interface Answers<S> {
  /** A pod is not trusted: what it says is taken in these shapes only. @throws when it is none */
  readonly read: (value: unknown) => S;
  /** Whether the same would be said of both. */
  readonly isSame: (a: S, b: S) => boolean;
  /** Whether it is about to say something else: it is asked again soon. */
  readonly isOpen: (status: S) => boolean;
}

/** Milliseconds between two questions to a pod: while it is about to say something else, and then. */
export interface Pauses {
  readonly openMs: number;
  readonly endMs: number;
}

interface Asked<S> {
  pod: LivePod;
  status?: S;
  /** Monotonic milliseconds. */
  dueAt: number;
  asking?: Promise<void>;
}

/** Of an answer that is taken for a status. */
const largestBytes = 512 * 1024;

/**
 * What processes say of themselves, straight from their admin ports. A pod that does not answer keeps what it said last, and
 * is asked again.
 */
export class PodStatuses<S> {
  readonly #asked = new Map<string, Asked<S>>();
  readonly #answers: Answers<S>;
  readonly #changed: (pod: LivePod, now: S, before: S | undefined) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #pauses: Pauses;

  constructor(
    answers: Answers<S>,
    changed: (pod: LivePod, now: S, before: S | undefined) => void,
    pauses: Pauses = { openMs: 1_000, endMs: 15_000 },
  ) {
    this.#answers = answers;
    this.#changed = changed;
    this.#pauses = pauses;
    this.#timer = setInterval(() => this.#askDue(), pauses.openMs / 4).unref();
  }

  get(uid: string): S | undefined {
    return this.#asked.get(uid)?.status;
  }

  /** A pod that is there now. */
  put(pod: LivePod): void {
    const { uid = '' } = pod.metadata;
    const entry = this.#asked.get(uid);
    if (entry) entry.pod = pod;
    else this.#asked.set(uid, { pod, dueAt: 0 });
  }

  remove({ metadata: { uid = '' } }: LivePod): void {
    this.#asked.delete(uid);
  }

  /** What these pods say now. Never rejects. */
  async refresh(pods: readonly LivePod[]): Promise<void> {
    await Promise.all(
      pods.map(async ({ metadata: { uid = '' } }) => {
        const entry = this.#asked.get(uid);
        if (!entry || entry.pod.status?.podIP === undefined) return;
        await entry.asking; // it was asked before now
        await this.#askNow(entry);
      }),
    );
  }

  close(): void {
    clearInterval(this.#timer);
    this.#asked.clear();
  }

  #askDue(): void {
    const now = performance.now();
    for (const entry of this.#asked.values()) {
      if (entry.asking || entry.dueAt > now || entry.pod.status?.podIP === undefined) continue;
      void this.#askNow(entry);
    }
  }

  #askNow(entry: Asked<S>): Promise<void> {
    const asking = this.#ask(entry).finally(() => {
      const isOpen = entry.status === undefined || this.#answers.isOpen(entry.status);
      const isGoing = entry.pod.metadata.deletionTimestamp !== undefined;
      entry.dueAt = performance.now() + (isOpen || isGoing ? this.#pauses.openMs : this.#pauses.endMs);
      delete entry.asking;
    });
    entry.asking = asking;
    return asking;
  }

  /** Never rejects. */
  async #ask(entry: Asked<S>): Promise<void> {
    const host = hostOf(entry.pod.status?.podIP ?? '');
    let status: S;
    try {
      const { status: code, text } = await askAdmin(`http://${host}:${containerPorts.admin}/status`, largestBytes);
      if (code !== 200) return;
      status = this.#answers.read(JSON.parse(text));
    } catch {
      return; // it has not begun to listen, or ends: what it said last is what is known
    }
    const before = entry.status;
    entry.status = status;
    if (before === undefined || !this.#answers.isSame(before, status)) this.#changed(entry.pod, status, before);
  }
}

/** An address as URLs have it. */
export const hostOf = (podIP: string): string => (podIP.includes(':') ? `[${podIP}]` : podIP);

export interface Said {
  readonly code: string;
  readonly message: string;
}

/** Why something has failed, where it says so. */
export function failureIn(value: unknown): Said | undefined {
  const { code, message } = (value ?? {}) as { code?: unknown; message?: unknown };
  const isCode = typeof code === 'string' && /^[A-Za-z][A-Za-z0-9]{0,63}$/.test(code);
  return isCode && typeof message === 'string' ? { code, message: message.slice(0, 2_048) } : undefined;
}
