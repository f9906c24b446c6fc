import type { Known } from './known.ts';
import type { Link } from './link.ts';
import { exists } from './look.ts';
import type { Management } from './management.ts';
import {
  deadExchange,
  exchangeName,
  lostExchange,
  lostQueue,
  recordName,
  retryExchange,
  rungName,
  rungs,
} from './names.ts';

/** What should be there and is not, beside the queues of steps. Bindings only where the management API can be asked. */
export async function missingParts(
  link: Link,
  management: Management | undefined,
  { topology: { pipeline }, record }: Known,
): Promise<string[]> {
  const rung = rungs.map(rungName);
  const exchanges = [exchangeName(pipeline), retryExchange, deadExchange, lostExchange, ...rung];
  const queues = [recordName(pipeline), lostQueue, ...rung];
  const gone: string[] = [];
  for (const name of exchanges) {
    if (!(await exists(link, name, (channel) => channel.checkExchange(name)))) gone.push(`exchange ${name}`);
  }
  for (const name of queues) if (!(await exists(link, name))) gone.push(`queue ${name}`);
  for (const [name, { bindings }] of Object.entries(record)) {
    const found = await management?.bindings(name);
    // The queue itself may be gone: that is seen elsewhere.
    if (!found || found.size === 0) continue;
    for (const { pipeline: from, type } of bindings) {
      if (!found.has(`${exchangeName(from)} ${type}`)) gone.push(`binding of ${name} to ${type}`);
    }
  }
  return gone;
}
