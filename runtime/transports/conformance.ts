import { afterEach, beforeEach, describe, it } from 'vitest';
import { Bench, type ItNeeds, type Skippable, type TransportHarness } from './conformance/bench.ts';
import { deadLetters } from './conformance/dead-letters.ts';
import { deliveries } from './conformance/deliveries.ts';
import { refusals } from './conformance/refusals.ts';
import { settlements } from './conformance/settlements.ts';
import { topologies } from './conformance/topology.ts';
import { whole } from './conformance/whole.ts';

/**
 * What every transport does. Brokers may be shared and slow: pipelines have new names in each test, and tests wait for
 * conditions.
 *
 * @param skips what a transport does not have, with the reason
 */
export function transportConformance(
  name: string,
  start: () => Promise<TransportHarness>,
  skips: Partial<Record<Skippable, string>> = {},
): void {
  const itNeeds: ItNeeds = (what, title, test) =>
    it.skipIf(skips[what])(skips[what] ? `${title} (skipped: ${skips[what]})` : title, test);

  describe(`${name} transport`, () => {
    const bench = new Bench();
    beforeEach(() => bench.start(start));
    afterEach(() => bench.harness.close());

    deliveries(bench);
    settlements(bench);
    deadLetters(bench);
    topologies(bench);
    refusals(bench, itNeeds);
    whole(bench, itNeeds);
  });
}
