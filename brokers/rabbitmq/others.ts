import type { Placement } from '../../api/contract/placement.ts';
import type { QueueDepth } from './broker.ts';
import { placementOf } from './known.ts';
import type { Links } from './link.ts';
import { lookAt } from './look.ts';
import { Records } from './record.ts';

/**
 * Where a pipeline is whose queues another process makes, and how deep they are: as its record in the broker says. Nothing
 * is made or removed.
 *
 * @throws LevadaError BrokerUnavailable, BrokerRefused, BrokerForbidden, QueueConflict
 */
export async function lookAtOthers(
  links: Links,
  pipeline: string,
): Promise<{ placement: Placement; depths: Record<string, QueueDepth> }> {
  const record = await new Records(links).read(pipeline);
  const topology = { pipeline, queues: [] };
  const placement = placementOf({ topology, record, leaving: new Set() });
  const depths: Record<string, QueueDepth> = {};
  for (const [queue, { from, dead }] of Object.entries(placement.queues)) {
    let ready = 0;
    for (const { name } of from) ready += (await lookAt(links.consuming, name)).messageCount;
    depths[queue] = { ready, dead: (await lookAt(links.consuming, dead)).messageCount };
  }
  return { placement, depths };
}
