import { printResult } from './arguments.ts';

export interface Timing {
  count: number;
  seconds: number;
  /** Seconds of CPU. */
  cpu: number;
}

/** Counts messages; the clock begins when the first ones have made the code hot. */
export class Meter {
  readonly #warmUp: number;
  readonly #total: number;
  #done = 0;
  #at = performance.now();
  #cpu = process.cpuUsage();

  constructor({ warmUp, count }: { warmUp: number; count: number }) {
    this.#warmUp = warmUp;
    this.#total = warmUp + count;
  }

  /** @returns whether it was the last one */
  count(): boolean {
    this.#done++;
    if (this.#done === this.#warmUp) {
      this.#at = performance.now();
      this.#cpu = process.cpuUsage();
    }
    return this.#done === this.#total;
  }

  /** Of the messages after the warm-up. To be called at once after the last one. */
  timing(): Timing {
    const { user, system } = process.cpuUsage(this.#cpu);
    const seconds = (performance.now() - this.#at) / 1000;
    return { count: this.#total - this.#warmUp, seconds, cpu: (user + system) / 1e6 };
  }
}

/** Whatever a consumer takes has to be an order: nobody is quick by not reading. */
export function orderOf(value: unknown): { n: number; due: number } {
  const order = value as { n: number; due: number };
  if (typeof order?.n !== 'number') throw new Error(`no order: ${JSON.stringify(value)}`);
  return order;
}

/** Lets the last frames out, then says the result, with the CPU time of the whole process. */
export async function finish(result: object, close: () => Promise<unknown>): Promise<void> {
  await close();
  const { user, system } = process.cpuUsage();
  printResult({ ...result, processCpu: (user + system) / 1e6 });
}
