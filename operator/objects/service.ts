import { containerPorts } from '../../api/contract/names.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import type { ModelVersionUnit } from '../plan/units.ts';
import { frontLabels, selectorOf, unitLabels } from './labels.ts';
import { type KubernetesObject, metadataOf } from './metadata.ts';

/** `protocol` is a part of a port's key in a server-side apply, so it is always said. */
const httpPort = { name: 'http', port: 80, targetPort: 'serving', protocol: 'TCP' };
const adminPort = { name: 'admin', port: containerPorts.admin, targetPort: 'admin', protocol: 'TCP' };

/** The Service of one version: reaches it and no other, whichever version takes the traffic. */
export const versionServiceOf = (owner: ModelDeployment, unit: ModelVersionUnit): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: metadataOf(owner, unit.name, unitLabels(unit)),
  spec: { selector: selectorOf(unit), ports: [httpPort, adminPort] },
});

/** The Service that callers use. Switching is a change of its selector and of nothing else. */
export const frontServiceOf = (owner: ModelDeployment, name: string, target: ModelVersionUnit): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: metadataOf(owner, name, frontLabels(target.model)),
  spec: { selector: selectorOf(target), ports: [httpPort] },
});
