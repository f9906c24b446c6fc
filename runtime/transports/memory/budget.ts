import { LevadaError } from '../../../api/errors.ts';
import type { Message } from '../../events/message.ts';
import type { MemoryQueue } from './queue.ts';

/** What a message costs beside its bytes and text: objects, and its places in lists. */
const overhead = 512;

/** Bytes that a copy of the message is counted as. Copies share their data; each counts, as it would on a broker. */
export function bytesOf({ id, source, type, subject, extensions, data }: Message): number {
  let bytes = overhead + data.byteLength + id.length + source.length + type.length + (subject?.length ?? 0);
  for (const [name, value] of Object.entries(extensions)) bytes += name.length + value.length;
  return bytes;
}

/**
 * Bytes that all queues may hold together. Sources fill three quarters; the rest is for what steps emit, an equal share
 * for each queue. So a full broker cannot lock itself up: where a queue's share is used up, its own step is behind, and
 * the last step of a chain can always go on.
 *
 * Retries and dead letters are never refused: the message was there already.
 */
export class Budget {
  held = 0;
  readonly #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @throws LevadaError BrokerFull */
  checkPublish(added: number): void {
    if (added > 0 && this.held + added > this.#forSources) throw this.#full(this.#forSources);
  }

  /**
   * @param byQueue bytes that each queue would get
   * @param freed bytes of the message that is done
   * @param queues how many there are
   * @throws LevadaError BrokerFull
   */
  checkEmits(byQueue: ReadonlyMap<MemoryQueue, number>, freed: number, queues: () => number): void {
    let added = 0;
    for (const bytes of byQueue.values()) added += bytes;
    if (this.held - freed + added <= this.#forSources) return;
    const share = (this.#maxBytes - this.#forSources) / queues();
    for (const [queue, bytes] of byQueue) {
      // A message that is larger than the share finds its place when the queue has nothing else.
      if (queue.liveBytes > 0 && queue.liveBytes + bytes > share) throw this.#full(this.#maxBytes);
    }
  }

  get #forSources(): number {
    return (this.#maxBytes * 3) / 4;
  }

  #full(limit: number): LevadaError {
    const detail = `it holds ${this.held} bytes; at most ${limit} are kept in memory`;
    return new LevadaError('BrokerFull', { detail, found: this.held, limit });
  }
}
