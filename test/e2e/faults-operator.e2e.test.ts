/** The operator killed, doubled, cut off and without a right, on a real cluster; a model serves all along. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clusterHere } from '../../hack/cluster.ts';
import { conditionOf, type Namespace, operatorNamespace, showOnFailure } from '../support/e2e.ts';
import { IrisOnCluster } from '../support/e2e-iris.ts';
import { without } from '../support/operator.ts';
import { until } from '../support/wait.ts';

interface Pod {
  readonly metadata: { readonly uid: string; readonly name: string; readonly deletionTimestamp?: string };
  readonly status: { readonly podIP?: string; readonly containerStatuses?: ReadonlyArray<{ restartCount: number }> };
}
interface Lease {
  readonly spec: { readonly holderIdentity?: string };
}
interface Role {
  readonly rules: Parameters<typeof without>[0];
}

const cluster = await clusterHere();
const selector = '--selector=app.kubernetes.io/component=operator';
let iris: IrisOnCluster;
let operator: Namespace;

beforeAll(async () => {
  iris = await IrisOnCluster.start();
  ({ operator } = iris);
});
afterAll(() => iris[Symbol.asyncDispose]());
showOnFailure(() => iris.namespace);

const isRolledOut = () => operator.kubectl('rollout', 'status', 'deployment/levada', '--timeout=120s');
const kill = (...which: string[]) => operator.kubectl('delete', 'pod', ...which, '--grace-period=0', '--force');

async function pods(): Promise<Pod[]> {
  const { items } = JSON.parse(await operator.kubectl('get', 'pods', selector, '-o', 'json')) as { items: Pod[] };
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

/** Name of the pod that leads, as the Lease says. */
async function holder(): Promise<string> {
  const { spec } = await operator.get<Lease>('lease', 'levada');
  return (spec.holderIdentity ?? '').split('_')[0] ?? '';
}

/** Names of the pods that say of themselves that they lead. */
async function leaders(): Promise<string[]> {
  const all = await Promise.all(
    (await pods()).map(async ({ metadata: { name } }) => {
      const path = `/api/v1/namespaces/${operatorNamespace}/pods/${name}:8081/proxy/metrics`;
      const metrics = await operator.kubectl('get', '--raw', path);
      return /^leader_election_master_status\{[^}]*\} 1$/m.test(metrics) ? [name] : [];
    }),
  );
  return all.flat();
}

it('killed in the middle of a switch: the next one ends it', async () => {
  await iris.underLoad(async () => {
    await iris.wantOther();
    await kill(selector);
    await iris.serves();
    await isRolledOut();
  });
});

it('of two one leads, and the Lease says which; when that is killed the other one goes on', async () => {
  const only = async (unlike: string) => {
    let seen: string[] = [];
    return await until(
      'one leads, as the Lease says',
      async () => {
        const [said, asked] = [await holder(), await leaders()];
        seen = [said, ...asked];
        return asked.length === 1 && asked[0] === said && said !== unlike && said;
      },
      { timeoutMs: 120_000, seen: () => seen.join(', ') },
    );
  };
  try {
    await operator.kubectl('scale', 'deployment', 'levada', '--replicas=2');
    await isRolledOut();
    expect(await pods()).toHaveLength(2);
    await iris.underLoad(async () => {
      const first = await only('');
      await iris.wantOther();
      await iris.serves();
      expect(await holder()).toBe(first);
      await kill(first);
      await iris.wantOther();
      await iris.serves();
      await only(first);
    });
  } finally {
    await operator.kubectl('scale', 'deployment', 'levada', '--replicas=1');
    await isRolledOut();
  }
});

it('the API server is started again: no request fails, and what is applied then converges', async () => {
  const load = await iris.namespace.loadPod('http://iris', 4);
  await cluster.restartServer();
  await iris.wantOther();
  await iris.serves();
  const seen = await load.count();
  await until('answers after it', async () => (await load.count()) > seen + 50);
  expect(await load.stop()).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  await isRolledOut();
});

it('its connections are cut, the watches among them: a change converges, by the same process', async () => {
  const [before, ...others] = await pods();
  expect(others).toEqual([]);
  const restarts = ({ status }: Pod) => status.containerStatuses?.map(({ restartCount }) => restartCount);
  await iris.underLoad(async () => {
    for (let times = 0; times < 2; times++) {
      expect(await cluster.cut(before?.status.podIP ?? '')).toBeGreaterThan(0);
      await iris.wantOther();
      await iris.serves();
    }
  });
  const [after] = await pods();
  expect(after?.metadata.uid).toBe(before?.metadata.uid);
  expect(after && restarts(after)).toEqual(before && restarts(before));
});

describe('without a right', () => {
  const name = `${operatorNamespace}-levada`;
  const rights = async () => (await operator.get<Role>('clusterrole', name)).rules;
  const grant = (rules: Role['rules']) =>
    operator.patch(`clusterrole/${name}`, [{ op: 'replace', path: '/rules', value: rules }]);

  it.for([
    ['apps', 'deployments', 'create'],
    ['', 'services', 'patch'],
  ] as const)('%s %s %s: a condition names it, what ran goes on; with it, it converges', async (missing) => {
    const [group, resource, verb] = missing;
    const all = await rights();
    await iris.underLoad(async () => {
      try {
        await grant(without(all, resource, verb));
        await iris.wantOther();
        const live = await iris.says('Ready', 'False ClusterForbidden');
        const said = `cannot ${verb} resource "${resource}" in API group "${group}"`;
        expect(conditionOf(live, 'Ready')?.message).toContain(said);
        expect(conditionOf(live, 'Reconciling')?.status).toBe('True');
        expect(conditionOf(live, 'Serving')?.status).toBe('True');
      } finally {
        await grant(all);
      }
      await iris.serves();
    });
  });
});
