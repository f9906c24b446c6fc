/** The iris example on a whole cluster, for tests of what goes wrong: it serves all along. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { ConditionType } from '../../api/v1alpha1/common.ts';
import { type Live, Namespace, operatorNamespace } from './e2e.ts';
import { root } from './up.ts';
import { until } from './wait.ts';

/** On a cluster the files are in a claim; what is in them is the same, and their digests say so. */
export const irisResource = (await readFile(join(root, 'examples/iris/iris.yaml'), 'utf8')).replaceAll(
  'file:///models/iris/',
  'pvc://iris/',
);
const model = 'modeldeployment/iris';

export class IrisOnCluster implements AsyncDisposable {
  readonly namespace: Namespace;
  /** Where the operator is. */
  readonly operator: Namespace;
  #wanted = 'v1';

  private constructor(namespace: Namespace) {
    this.namespace = namespace;
    this.operator = namespace.in(operatorNamespace);
  }

  /**
   * In a namespace of its own, with the pod that requests come from; it serves when the promise resolves.
   *
   * @param claims other claims, with the folders that are in them: from then on only restricted pods are admitted
   */
  static async start(claims: Readonly<Record<string, string>> = {}): Promise<IrisOnCluster> {
    const iris = new IrisOnCluster(await Namespace.create());
    const all = { iris: 'examples/iris/models', ...claims };
    for (const [name, folder] of Object.entries(all)) await iris.namespace.claim(name, folder);
    await iris.namespace.restrict();
    await iris.namespace.startClient();
    await iris.namespace.apply(irisResource);
    await iris.serves();
    return iris;
  }

  /** While it goes on, requests come; none of them may fail. */
  async underLoad(fault: () => Promise<void>): Promise<void> {
    const load = await this.namespace.load('http://iris', 4);
    try {
      await fault();
      const seen = load.count();
      await until('answers after it', () => load.count() > seen + 50);
    } catch (error) {
      await load.stop();
      throw error;
    }
    expect(await load.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  }

  /** Asks for a version; it does not serve yet. */
  async want(version: string): Promise<void> {
    this.#wanted = version;
    await this.namespace.patch(model, { spec: { serve: version } });
  }

  /** Asks for the other one of v1 and v2. */
  wantOther(): Promise<void> {
    return this.want(this.#wanted === 'v1' ? 'v2' : 'v1');
  }

  /** Waits until the version that is wanted serves. */
  async serves(): Promise<Live> {
    const live = await this.namespace.says(model, 'Ready', 'True Serving');
    expect(live.status?.stableVersion).toBe(this.#wanted);
    return live;
  }

  says(type: ConditionType, text: string): Promise<Live> {
    return this.namespace.says(model, type, text);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.namespace[Symbol.asyncDispose]();
  }
}
