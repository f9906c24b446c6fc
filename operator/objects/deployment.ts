import { type Mounted, mountPathOf } from '../../api/contract/model-uri.ts';
import { containerPorts, routingName } from '../../api/contract/names.ts';
import type { ModelVersionUnit } from '../plan/units.ts';
import { fetchingOf } from './fetch.ts';
import { selectorOf, unitLabels } from './labels.ts';
import type { Volume, Workload } from './workload.ts';

/** A model is only read: many pods may share what many nodes can mount. */
const volumeOf = (of: Mounted): object =>
  'claim' in of
    ? { persistentVolumeClaim: { claimName: of.claim, readOnly: true } }
    : // A pod that waits for its volumes says nothing; one that finds no file there says that, and looks again.
      { configMap: { name: of.configMap, optional: true } };

/** A model that shares no requests out has no such ConfigMap, until it does. */
const routingVolumeOf = ({ model, config: { routing } }: ModelVersionUnit): Volume[] =>
  routing
    ? [
        {
          name: 'routing',
          mountPath: routing.folder,
          source: { configMap: { name: routingName(model), optional: true } },
        },
      ]
    : [];

/** The pods of a version, which read the configuration in the ConfigMap of that name. */
export const modelWorkload = (unit: ModelVersionUnit, configMap: string, image: string): Workload => ({
  name: unit.name,
  labels: unitLabels(unit),
  selector: selectorOf(unit),
  replicas: unit.replicas,
  configMap,
  runtime: { name: 'model-server', image, ports: containerPorts, resources: unit.resources },
  sidecars: fetchingOf(unit, image).containers,
  volumes: [
    ...(unit.mounts ?? []).map((of, index) => ({
      name: `mount-${index}`,
      mountPath: mountPathOf(of),
      source: volumeOf(of),
    })),
    ...fetchingOf(unit, image).volumes,
    ...routingVolumeOf(unit),
  ],
  serviceAccountName: unit.serviceAccountName,
  ...(unit.podTemplate && { overlays: [unit.podTemplate] }),
});
