import { setTimeout as sleep } from 'node:timers/promises';
import { percentile } from '../../statistics.ts';
import { nowMicros } from './body.ts';
import { orderOf } from './meter.ts';

/**
 * Open loop: messages leave when they are due, whatever became of the ones before.
 *
 * @param send `due` in µs of {@link nowMicros}
 */
export async function paced(
  { rate, warmUp, count }: { rate: number; warmUp: number; count: number },
  send: (n: number, due: number) => Promise<void>,
): Promise<void> {
  const begin = nowMicros() + 100_000;
  const confirmations: Promise<void>[] = [];
  const failed = Promise.withResolvers<never>();
  for (let n = 0; n < warmUp + count; ) {
    const due = begin + Math.round((n * 1e6) / rate);
    if (due > nowMicros()) {
      await Promise.race([sleep(1), failed.promise]);
      continue;
    }
    const confirmation = send(n++, due);
    confirmation.catch(failed.reject);
    confirmations.push(confirmation);
  }
  await Promise.all(confirmations);
}

/** From when a message was due until a consumer had read it. */
export class Latencies {
  readonly #warmUp: number;
  readonly #total: number;
  readonly #millis: number[] = [];
  #taken = 0;

  constructor({ warmUp, count }: { warmUp: number; count: number }) {
    this.#warmUp = warmUp;
    this.#total = warmUp + count;
  }

  /** @returns whether it was the last one */
  take(value: unknown): boolean {
    const { due } = orderOf(value);
    this.#taken++;
    if (this.#taken > this.#warmUp) this.#millis.push((nowMicros() - due) / 1000);
    return this.#taken === this.#total;
  }

  result(): { count: number; p50Ms: number; p99Ms: number; maxMs: number } {
    const [p50Ms = 0, p99Ms = 0, maxMs = 0] = [0.5, 0.99, 1].map((fraction) => percentile(this.#millis, fraction));
    return { count: this.#millis.length, p50Ms, p99Ms, maxMs };
  }
}
