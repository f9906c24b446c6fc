import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { ModelVersionUnit } from '../plan/units.ts';
import { selectorOf, unitLabels } from './labels.ts';
import { type KubernetesObject, metadataOf } from './metadata.ts';

/** Lets a node be drained one pod at a time; a pod that is not ready anyway never holds the drain up. */
export const disruptionBudgetOf = (owner: ModelDeployment, unit: ModelVersionUnit): KubernetesObject => ({
  apiVersion: 'policy/v1',
  kind: 'PodDisruptionBudget',
  metadata: metadataOf(owner, unit.name, unitLabels(unit)),
  spec: {
    maxUnavailable: 1,
    selector: { matchLabels: selectorOf(unit) },
    unhealthyPodEvictionPolicy: 'AlwaysAllow',
  },
});
