import { childTypes } from '../../operator/drivers/kubernetes/types.ts';
import type { KubeClient } from '../../operator/engine/client.ts';
import { pathOf, type StoredObject } from '../../operator/engine/objects.ts';

const crdType = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
} as const;
const text = { type: 'string' };
const list = (properties: object) => ({ type: 'array', items: { type: 'object', properties } });
/** The part of the Gateway API that is used, as strict as that is. */
const gateway = {
  apiVersion: crdType.apiVersion,
  kind: crdType.kind,
  metadata: {
    name: 'httproutes.gateway.networking.k8s.io',
    annotations: { 'api-approved.kubernetes.io': 'https://github.com/kubernetes-sigs/gateway-api/pull/2997' },
  },
  spec: {
    group: 'gateway.networking.k8s.io',
    scope: 'Namespaced',
    names: { kind: childTypes.HTTPRoute.kind, plural: childTypes.HTTPRoute.plural },
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {
            type: 'object',
            properties: {
              spec: {
                type: 'object',
                properties: {
                  parentRefs: list({ name: text, namespace: text, sectionName: text }),
                  hostnames: { type: 'array', items: text },
                  rules: list({
                    matches: list({ path: { type: 'object', properties: { type: text, value: text } } }),
                    backendRefs: list({
                      name: text,
                      port: { type: 'integer' },
                      weight: { type: 'integer', default: 1 },
                    }),
                  }),
                },
              },
            },
          },
        },
      },
    ],
  },
} as const;

/** From now on the API server has HTTPRoutes. */
export const installGateway = (admin: KubeClient): Promise<unknown> =>
  admin.apply(crdType, gateway as StoredObject, { fieldManager: 'test' });

export const removeGateway = (admin: KubeClient): Promise<unknown> =>
  admin.call({ method: 'DELETE', path: pathOf(crdType, { name: gateway.metadata.name }) });
