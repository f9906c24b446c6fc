import { Meter, type Timing } from './meter.ts';

/**
 * Sends all messages, so many at once without an answer: as a source does that holds its callers back.
 *
 * @param send resolves when the broker has confirmed it
 */
export async function publishAll(
  { warmUp, count, outstanding }: { warmUp: number; count: number; outstanding: number },
  send: (n: number) => Promise<void>,
): Promise<Timing> {
  const meter = new Meter({ warmUp, count });
  const total = warmUp + count;
  let next = 0;
  let timing: Timing | undefined;
  const sender = async () => {
    while (next < total) {
      await send(next++);
      if (meter.count()) timing = meter.timing();
    }
  };
  await Promise.all(Array.from({ length: outstanding }, sender));
  if (!timing) throw new Error('not all messages were confirmed');
  return timing;
}
