import { request } from 'undici';
import type { ModelServerStatus } from '../../../api/contract/model-server.ts';
import { containerPorts } from '../../../api/contract/names.ts';
import type { LivePod } from './types.ts';

interface Asked {
  pod: LivePod;
  status?: ModelServerStatus;
  /** Monotonic milliseconds. */
  dueAt: number;
  isAsking: boolean;
}

const timeoutMs = 2_000;
/** Of an answer that is taken for a status. */
const largestBytes = 64 * 1024;

/**
 * What model servers say of themselves, straight from their admin ports: which digest they have loaded, why they have not.
 * A pod that does not answer keeps what it said last, and is asked again.
 */
export class PodStatuses {
  readonly #asked = new Map<string, Asked>();
  readonly #changed: (pod: LivePod) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #pauses: { readonly openMs: number; readonly endMs: number };

  /** @param pauses between two questions: while it loads, and when it has loaded or failed */
  constructor(changed: (pod: LivePod) => void, pauses = { openMs: 1_000, endMs: 15_000 }) {
    this.#changed = changed;
    this.#pauses = pauses;
    this.#timer = setInterval(() => this.#askDue(), pauses.openMs / 4).unref();
  }

  get(uid: string): ModelServerStatus | undefined {
    return this.#asked.get(uid)?.status;
  }

  /** A pod that is there now. */
  put(pod: LivePod): void {
    const { uid = '' } = pod.metadata;
    const entry = this.#asked.get(uid);
    if (entry) entry.pod = pod;
    else this.#asked.set(uid, { pod, dueAt: 0, isAsking: false });
  }

  remove({ metadata: { uid = '' } }: LivePod): void {
    this.#asked.delete(uid);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#asked.clear();
  }

  #askDue(): void {
    const now = performance.now();
    for (const entry of this.#asked.values()) {
      if (entry.isAsking || entry.dueAt > now || entry.pod.status?.podIP === undefined) continue;
      entry.isAsking = true;
      void this.#ask(entry).finally(() => {
        const isOpen = entry.status === undefined || entry.status.state === 'Loading';
        entry.dueAt = performance.now() + (isOpen ? this.#pauses.openMs : this.#pauses.endMs);
        entry.isAsking = false;
      });
    }
  }

  async #ask(entry: Asked): Promise<void> {
    const { podIP = '' } = entry.pod.status ?? {};
    const host = podIP.includes(':') ? `[${podIP}]` : podIP;
    let status: ModelServerStatus;
    try {
      const { statusCode, body } = await request(`http://${host}:${containerPorts.admin}/status`, {
        signal: AbortSignal.timeout(timeoutMs),
      });
      const text = await limited(body);
      if (statusCode !== 200) return;
      status = statusOf(JSON.parse(text));
    } catch {
      return; // it has not begun to listen, or ends: what it said last is what is known
    }
    const before = entry.status;
    entry.status = status;
    const isSame =
      before?.state === status.state &&
      before.sha256 === status.sha256 &&
      before.failure?.message === status.failure?.message;
    if (!isSame) this.#changed(entry.pod);
  }
}

async function limited(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > largestBytes) throw new Error('too long for a status');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** A pod is not trusted: what it says goes to a status, in these shapes only. */
function statusOf(value: unknown): ModelServerStatus {
  const { state, sha256, failure } = value as Partial<Record<keyof ModelServerStatus, unknown>>;
  if (state !== 'Loading' && state !== 'Loaded' && state !== 'Failed') throw new Error('not a status');
  const { code, message } = (failure ?? {}) as { code?: unknown; message?: unknown };
  const isCode = typeof code === 'string' && /^[A-Za-z][A-Za-z0-9]{0,63}$/.test(code);
  return {
    state,
    ...(typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256) && { sha256 }),
    ...(isCode && typeof message === 'string' && { failure: { code, message: message.slice(0, 2_048) } }),
  };
}
