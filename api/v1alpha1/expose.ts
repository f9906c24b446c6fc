import * as z from 'zod';
import { dnsSubdomain } from '../contract/names.ts';
import { celRules, type Rule } from '../rules.ts';
import { atMost, metadataKey, text } from './common.ts';
import { oneOf } from './event-pipeline-rules.ts';

/** A DNS name, or one whose first word is `*`. */
const hostName = z
  .string()
  .min(1)
  .max(253)
  .regex(/^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);

const objectName = z.string().min(1).max(253).regex(dnsSubdomain);

const ingress = z
  .strictObject({
    host: hostName.describe('Host whose requests lead here.'),
    className: objectName.optional().describe('IngressClass. Default: that of the cluster.'),
    tlsSecretName: objectName.optional().describe('Secret with the certificate for `host`. Default: no TLS.'),
    annotations: z
      .record(metadataKey('A-Za-z0-9'), text(8192))
      .check(atMost(64))
      .meta({ maxProperties: 64 })
      .optional()
      .describe('Annotations of the Ingress, for its controller.'),
  })
  .describe('An Ingress (networking.k8s.io/v1).');

const parentRef = z
  .strictObject({
    name: objectName.describe('Name of the Gateway.'),
    namespace: z
      .string()
      .min(1)
      .max(63)
      .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/)
      .optional()
      .describe('Namespace of the Gateway. Default: that of the resource.'),
    sectionName: objectName.optional().describe('Listener of the Gateway. Default: all that fit.'),
  })
  .describe('A Gateway.');

const httpRoute = z
  .strictObject({
    parentRefs: z
      .array(parentRef)
      .min(1)
      .max(16)
      .meta({ 'x-kubernetes-list-type': 'atomic' })
      .describe('Gateways whose requests lead here.'),
    hostnames: z
      .array(hostName)
      .min(1)
      .max(16)
      .meta({ 'x-kubernetes-list-type': 'atomic' })
      .optional()
      .describe('Hosts whose requests lead here. Default: those of the listener.'),
  })
  .describe('An HTTPRoute of the Gateway API (gateway.networking.k8s.io/v1), where the cluster has that.');

const exposeRules: readonly Rule[] = [oneOf(['ingress', 'httpRoute'])];

export const expose = z
  .strictObject({ ingress: ingress.optional(), httpRoute: httpRoute.optional() })
  .meta(celRules(exposeRules))
  .describe(
    'How it is reached from outside of the cluster. Exactly one of `ingress` and `httpRoute`. `levada up` does not use it.',
  );
export type Expose = z.output<typeof expose>;

/** Rules of an `expose` at `path`. */
export const exposePathRules = (
  ...path: readonly string[]
): ReadonlyArray<{ path: readonly string[]; rules: readonly Rule[] }> => [
  { path: [...path, 'expose'], rules: exposeRules },
];
