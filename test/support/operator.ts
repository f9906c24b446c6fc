import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { KubeClient } from '../../operator/engine/client.ts';
import { OperatorMetrics } from '../../operator/engine/metrics.ts';
import type { StoredObject } from '../../operator/engine/objects.ts';
import { Operator, type OperatorOptions } from '../../operator/operator.ts';
import { root } from './up.ts';

/** An operator inside of a test, which runs until it is closed. */
export class RunningOperator implements AsyncDisposable {
  readonly log: string[] = [];
  readonly metrics: OperatorMetrics;
  readonly operator: Operator;
  readonly ended: Promise<'closed' | 'lost'>;

  constructor(client: KubeClient, options: Partial<OperatorOptions> = {}) {
    this.metrics = options.metrics ?? new OperatorMetrics();
    this.operator = new Operator(client, {
      image: 'levada:test',
      lease: { namespace: 'default', name: 'levada', retryMs: 200 },
      identity: `test-${Math.random()}`,
      metrics: this.metrics,
      backoff: { firstMs: 20, maxMs: 200 },
      pauses: { soon: 100, maybe: 500, never: 2_000 },
      retry: { firstMs: 50, maxMs: 500 },
      lookMs: 1_000,
      log: (text, about = {}) => void this.log.push(`${text} ${JSON.stringify(about)}`),
      ...options,
    });
    this.ended = this.operator.run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.operator.close();
    await this.ended;
  }
}

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

const lease = { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'update'] };

/** What the chart lets the operator do. @param hasBroker whether it has a broker of its own; the default: it has */
export async function operatorRules(hasBroker = true): Promise<Rule[]> {
  const names = ['rules.yaml', ...(hasBroker ? ['rules-broker.yaml'] : [])];
  const texts = await Promise.all(names.map((name) => readFile(join(root, 'charts/levada/files', name), 'utf8')));
  return [lease, ...texts.flatMap((text) => parse(text) as Rule[])];
}

/** All of it but one verb of one resource. */
export const without = (rules: readonly Rule[], resource: string, verb: string): Rule[] =>
  rules
    .flatMap(({ apiGroups, resources, verbs }) =>
      resources.map((one) => ({
        apiGroups,
        resources: [one],
        verbs: one === resource ? verbs.filter((allowed) => allowed !== verb) : verbs,
      })),
    )
    .filter(({ verbs }) => verbs.length > 0);

/** Lets the user `nobody` do this in all namespaces, and nothing else there. */
export const allow = (admin: KubeClient, rules: readonly Rule[]): Promise<void> => grant(admin, 'Cluster', rules);

/** Lets the user `nobody` do this in a namespace, beside what {@link allow} lets it do everywhere. */
export const allowIn = (admin: KubeClient, namespace: string, rules: readonly Rule[]): Promise<void> =>
  grant(admin, '', rules, { namespace });

async function grant(
  admin: KubeClient,
  scope: 'Cluster' | '',
  rules: readonly Rule[],
  place: { readonly namespace?: string } = {},
): Promise<void> {
  const rbac = 'rbac.authorization.k8s.io';
  const [kind, prefix] = [`${scope}Role`, scope.toLowerCase()];
  const role = { apiVersion: `${rbac}/v1`, kind, plural: `${prefix}roles` };
  const metadata = { ...place, name: 'nobody' };
  await admin.apply(role, { metadata, rules } as StoredObject, { fieldManager: 'test' });
  await admin.apply(
    { ...role, kind: `${kind}Binding`, plural: `${prefix}rolebindings` },
    {
      metadata,
      roleRef: { apiGroup: rbac, kind, name: 'nobody' },
      subjects: [{ apiGroup: rbac, kind: 'User', name: 'nobody' }],
    } as StoredObject,
    { fieldManager: 'test' },
  );
}
