import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { Front, UnitPlan } from '../plan/units.ts';
import { configMapOf } from './configmap.ts';
import { modelWorkload } from './deployment.ts';
import { exposureOf } from './expose.ts';
import { frontLabels } from './labels.ts';
import type { KubernetesObject } from './metadata.ts';
import { frontServiceOf, versionServiceOf } from './service.ts';
import { deploymentFor, disruptionBudgetFor } from './workload.ts';

/**
 * Every object that `plan` stands for, in the order in which they are applied: what pods need before the pods, and the
 * Services that callers use last, with what leads there from outside.
 */
export function renderObjects(owner: ModelDeployment, plan: UnitPlan, options: { image: string }): KubernetesObject[] {
  const ofUnits = plan.units.flatMap((unit) => {
    const configMap = configMapOf(owner, unit);
    const workload = modelWorkload(unit, configMap.metadata.name, options.image);
    return [
      configMap,
      deploymentFor(owner, workload),
      versionServiceOf(owner, unit),
      ...(unit.replicas >= 2 ? [disruptionBudgetFor(owner, workload)] : []),
    ];
  });
  const fronts = plan.fronts.map((front) => frontOf(owner, plan, front));
  return [...ofUnits, ...fronts, ...plan.fronts.flatMap((front) => outsideOf(owner, front))];
}

/** A model answers under every path. */
const outsideOf = (owner: ModelDeployment, { service, expose }: Front): KubernetesObject[] =>
  expose
    ? exposureOf(owner, expose, { service, labels: frontLabels(owner.metadata.name), path: '/', below: true })
    : [];

function frontOf(owner: ModelDeployment, plan: UnitPlan, { service, target }: Front): KubernetesObject {
  const unit = plan.units.find(({ name }) => name === target);
  if (!unit) throw new Error(`the plan sends ${service} to ${target}, which it does not hold`);
  return frontServiceOf(owner, service, unit);
}
