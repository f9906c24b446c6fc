import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import { trialsOf } from '../rollout/look.ts';
import type { UnderWay } from '../rollout/types.ts';
import type { RoutingPlan } from '../units.ts';

type Spec = ModelDeployment['spec'];

/** Versions that get requests beside the one that serves, whatever a rollout does. */
export const sharers = ({ split = [], match = [], shadow }: Spec): string[] =>
  [...split, ...match, ...(shadow ? [shadow] : [])].map(({ version }) => version);

/** Whether requests are shared out at all. */
export const isShared = (spec: Spec): boolean =>
  (spec.rollout ?? spec.split ?? spec.match ?? spec.sticky ?? spec.shadow) !== undefined;

/** Percent of all requests that are scored by both sides, at most. */
const comparedPercent = 5;

/**
 * The routing table of the version that serves.
 *
 * @param rollout where one is under way
 * @param runs versions that run: another one would be nowhere to be found
 */
export function routingOf(
  spec: Spec,
  stable: string,
  rollout: UnderWay | undefined,
  runs: ReadonlySet<string>,
): RoutingPlan {
  const { split, match = [], sticky, shadow } = spec;
  // Once it serves, or has gone back, it has no share any more.
  const hasShare = rollout?.stable === stable && rollout.phase !== 'RolledBack' && rollout.phase !== 'Aborted';
  const candidate = hasShare && runs.has(rollout.candidate) ? rollout : undefined;
  const rules = match.filter(({ version }) => runs.has(version));
  const compared = (spec.rollout?.gates ?? []).flatMap(({ disagreement }) => disagreement?.output ?? []);
  // Meanwhile another version serves than the one that is to: then it answers all.
  const isWhole = split?.some(({ version }) => version === stable) && split.every(({ version }) => runs.has(version));
  const shares = isWhole ? split : undefined;
  return {
    stable: { version: stable },
    ...(candidate && { candidate: { version: candidate.candidate, weight: candidate.weight } }),
    ...(shares && { split: shares.map(({ version, weight }) => ({ version, weight })) }),
    ...(rules.length > 0 && { match: rules.map(({ header, version }) => ({ header, version })) }),
    ...(sticky && { sticky: { header: sticky.header } }),
    ...(candidate && { rollout: trialsOf(candidate) }),
    ...(shadow &&
      shadow.version !== stable &&
      runs.has(shadow.version) && { shadow: { version: shadow.version, percent: shadow.percent } }),
    ...(candidate &&
      candidate.weight > 0 &&
      compared.length > 0 && {
        compare: { outputs: compared, percent: Math.min(100, (100 * comparedPercent) / candidate.weight) },
      }),
    salt: shares
      ? shares
          .map(({ version }) => version)
          .toSorted()
          .join('/')
      : [stable, ...(candidate ? [candidate.candidate] : [])].join('/'),
  };
}
