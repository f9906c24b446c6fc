import type { Expose } from '../../api/v1alpha1/expose.ts';
import { type KubernetesObject, metadataOf, type Owner } from './metadata.ts';

export interface Exposed {
  /** Name of the Service, and of what leads to it. */
  readonly service: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly path: string;
  /** Whether what is below `path` is meant as well. */
  readonly below: boolean;
}

/** What leads from outside of the cluster to the port `http` (80) of a Service. */
export function exposureOf(owner: Owner, expose: Expose, exposed: Exposed): KubernetesObject[] {
  const { ingress, httpRoute } = expose;
  return [
    ...(ingress ? [ingressOf(owner, ingress, exposed)] : []),
    ...(httpRoute ? [httpRouteOf(owner, httpRoute, exposed)] : []),
  ];
}

function ingressOf(
  owner: Owner,
  { host, className, tlsSecretName, annotations }: NonNullable<Expose['ingress']>,
  { service, labels, path, below }: Exposed,
): KubernetesObject {
  const backend = { service: { name: service, port: { name: 'http' } } };
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { ...metadataOf(owner, service, labels), ...(annotations && { annotations }) },
    spec: {
      ...(className !== undefined && { ingressClassName: className }),
      rules: [{ host, http: { paths: [{ path, pathType: below ? 'Prefix' : 'Exact', backend }] } }],
      ...(tlsSecretName !== undefined && { tls: [{ hosts: [host], secretName: tlsSecretName }] }),
    },
  };
}

const httpRouteOf = (
  owner: Owner,
  { parentRefs, hostnames }: NonNullable<Expose['httpRoute']>,
  { service, labels, path, below }: Exposed,
): KubernetesObject => ({
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'HTTPRoute',
  metadata: metadataOf(owner, service, labels),
  spec: {
    parentRefs,
    ...(hostnames && { hostnames }),
    rules: [
      {
        matches: [{ path: { type: below ? 'PathPrefix' : 'Exact', value: path } }],
        backendRefs: [{ name: service, port: 80 }],
      },
    ],
  },
});
