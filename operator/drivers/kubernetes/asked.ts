import { containerPorts } from '../../../api/contract/names.ts';
import { messageOf } from '../../../api/errors.ts';
import { askAdmin } from '../admin-port.ts';
import { hostOf, isGoing, isPodReady } from './failures.ts';
import type { LivePod } from './types.ts';

/** What pods of one kind say of themselves. */
export interface Answers<S> {
  /**
   * A pod is not trusted: what it says is taken in these shapes only.
   *
   * @param askedAt milliseconds since the epoch
   * @throws when it is none
   */
  readonly read: (value: unknown, askedAt: number) => S;
  /** Whether the same would be said of both. */
  readonly isSame: (a: S, b: S) => boolean;
  /** How likely it is to say something else without a change of its pod. */
  readonly likely: (status: S) => keyof Pauses;
  /**
   * A pod that is ready when it is seen first says what is known already, as a rule: thousands are there when an operator starts.
   * They are asked over four times the pause `maybe`, those that somebody waits for ({@link PodStatuses.known}, `hurry`) at once.
   */
  readonly mayWait?: true;
}

/** Milliseconds between two questions to a pod, by how likely it is to say something else. */
export interface Pauses {
  /** It is about to. */
  readonly soon: number;
  /** It may. */
  readonly maybe: number;
  /** It will not, as long as it runs. */
  readonly never: number;
}

interface Asked<S> {
  pod: LivePod;
  status?: S;
  /** Monotonic milliseconds. */
  dueAt: number;
  asking?: Promise<void>;
  /** Answers to what was asked before it was told something are older than that. */
  told: number;
  /** It has been asked at least once, whatever came of it. */
  wasAsked?: true;
  /** Monotonic milliseconds: the first question without an answer since it was heard, or became ready, last. */
  unansweredAt?: number;
  /** What came of a question, long after that one. */
  silence?: string;
}

/** What is to be told of pods. */
export interface Told<S> {
  /** What a pod says has changed. */
  readonly changed: (pod: LivePod, now: S, before: S | undefined) => void;
  /** A pod has become silent, or is not any more ({@link PodStatuses.silenceOf}). */
  readonly silenced: (pod: LivePod) => void;
}

/** Pods that are asked at once, so that thousands do not take all sockets. */
const atOnce = 256;

/** Of an answer that is taken for a status. */
const largestBytes = 512 * 1024;
/** Times the pause `soon`: a pod that is ready and has answered nothing for so long is silent. */
const silentPauses = 60;

/**
 * What processes say of themselves, straight from their admin ports. A pod that does not answer keeps what it said last, and
 * is asked again.
 */
export class PodStatuses<S> {
  readonly #asked = new Map<string, Asked<S>>();
  readonly #answers: Answers<S>;
  readonly #told: Told<S>;
  readonly #timer: NodeJS.Timeout;
  readonly #pauses: Pauses;
  readonly #random: () => number;
  #asking = 0;
  /** Some are due that are not asked, because so many are. */
  #isFull = false;

  constructor(
    answers: Answers<S>,
    told: Told<S>,
    pauses: Pauses = { soon: 1_000, maybe: 15_000, never: 900_000 },
    random: () => number = Math.random,
  ) {
    this.#answers = answers;
    this.#told = told;
    this.#pauses = pauses;
    this.#random = random;
    this.#timer = setInterval(() => this.#askDue(), pauses.soon / 4).unref();
  }

  get(uid: string): S | undefined {
    return this.#asked.get(uid)?.status;
  }

  /** Of a pod that is ready and has answered nothing for a minute: what came of the question by which that was seen. */
  silenceOf(uid: string): string | undefined {
    return this.#asked.get(uid)?.silence;
  }

  /** A pod that is there now. */
  put(pod: LivePod): void {
    const { uid = '' } = pod.metadata;
    const entry = this.#asked.get(uid);
    if (entry) {
      entry.pod = pod;
      // Nobody is told of it: its owner is told that it has changed.
      if (!isPodReady(pod)) forgetSilence(entry);
    } else {
      const waitMs = this.#answers.mayWait && isPodReady(pod) ? 4 * this.#pauses.maybe * this.#random() : 0;
      this.#asked.set(uid, { pod, dueAt: performance.now() + waitMs, told: 0 });
    }
  }

  /** Of these pods those that have not been asked are asked with the next. */
  hurry(pods: readonly LivePod[]): void {
    for (const { metadata } of pods) {
      const entry = this.#asked.get(metadata.uid ?? '');
      if (entry && !entry.wasAsked) entry.dueAt = 0;
    }
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

  /** It has been told something, and has said what that changes. Of one that has said nothing else yet, that is not enough. */
  took(uid: string, change: (status: S) => S): void {
    const entry = this.#asked.get(uid);
    if (!entry) return;
    entry.told++;
    if (entry.status) this.#hear(entry, change(entry.status));
  }

  /** Resolves when each of these pods that can be asked has been, once: in 2 s, answer or none. Never rejects. */
  async known(pods: readonly LivePod[]): Promise<void> {
    const unknown = pods.flatMap((pod) => {
      const entry = this.#asked.get(pod.metadata.uid ?? '');
      return entry && !entry.wasAsked && entry.pod.status?.podIP !== undefined && !isGoing(pod) ? [entry] : [];
    });
    await Promise.all(unknown.map((entry) => entry.asking ?? this.#askNow(entry)));
  }

  close(): void {
    clearInterval(this.#timer);
    this.#asked.clear();
  }

  #askDue(): void {
    const now = performance.now();
    for (const entry of this.#asked.values()) {
      if (entry.asking || entry.dueAt > now || entry.pod.status?.podIP === undefined) continue;
      this.#isFull = this.#asking >= atOnce;
      if (this.#isFull) return;
      void this.#askNow(entry);
    }
  }

  #askNow(entry: Asked<S>): Promise<void> {
    this.#asking++;
    const asking = this.#ask(entry).finally(() => {
      this.#asking--;
      const likely = entry.status === undefined || isGoing(entry.pod) ? 'soon' : this.#answers.likely(entry.status);
      // Thousands that were asked at once are not asked at once for ever.
      const spread = likely === 'soon' ? 1 : 0.75 + this.#random() / 2;
      entry.dueAt = performance.now() + this.#pauses[likely] * spread;
      delete entry.asking;
      entry.wasAsked = true;
      if (this.#isFull && this.#asking <= atOnce / 2) {
        this.#isFull = false;
        this.#askDue();
      }
    });
    entry.asking = asking;
    return asking;
  }

  /** Never rejects. */
  async #ask(entry: Asked<S>): Promise<void> {
    const host = hostOf(entry.pod.status?.podIP ?? '');
    const askedAt = Date.now();
    const { told } = entry;
    let status: S;
    try {
      const { status: code, text } = await askAdmin(`http://${host}:${containerPorts.admin}/status`, largestBytes);
      if (code !== 200) throw new Error(`it answers ${code}`);
      status = this.#answers.read(JSON.parse(text), askedAt);
    } catch (error) {
      this.#miss(entry, error);
      return; // it has not begun to listen, or ends: what it said last is what is known
    }
    if (entry.told === told) this.#hear(entry, status);
    else await this.#ask(entry);
  }

  /** Once is no matter. */
  #miss(entry: Asked<S>, error: unknown): void {
    if (!isPodReady(entry.pod)) return;
    const now = performance.now();
    entry.unansweredAt ??= now;
    if (entry.silence !== undefined || now - entry.unansweredAt < silentPauses * this.#pauses.soon) return;
    entry.silence = messageOf(error).slice(0, 200);
    this.#told.silenced(entry.pod);
  }

  #hear(entry: Asked<S>, status: S): void {
    const before = entry.status;
    const wasSilent = entry.silence !== undefined;
    entry.status = status;
    forgetSilence(entry);
    if (before === undefined || !this.#answers.isSame(before, status)) this.#told.changed(entry.pod, status, before);
    else if (wasSilent) this.#told.silenced(entry.pod);
  }
}

function forgetSilence(entry: Asked<unknown>): void {
  delete entry.unansweredAt;
  delete entry.silence;
}

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
