import { describe, expect, it } from 'vitest';
import { errors } from '../../../api/errors.ts';
import type { ModelDeployment } from '../../../api/v1alpha1/model-deployment.ts';
import { nothingObserved, type Observed, sameUnit } from '../units.ts';
import { planModel as plan } from './plan.ts';
import { brief, digestOf, iris, later, noon, observed, observedUnit, unitOf } from './testing.ts';

const v1 = unitOf(iris());
const v2 = unitOf(iris({ serve: 'v2' }));
const failure = { code: 'ModelInvalid', message: '/models/2 is not a model' };
const remedy = 'Export the model again; `levada model inspect FILE` shows what the file holds.';
const toV2 = iris({ serve: 'v2' }, 2);
const onlyV2 = iris({ versions: [{ name: 'v2', uri: 'file:///models/2' }], serve: undefined }, 2);

interface Case {
  resource: ModelDeployment;
  observed: Observed;
  gives: object;
}

const cases: Record<string, Case> = {
  'first deployment': {
    resource: iris(),
    observed: nothingObserved,
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'False Progressing: Version v1 is being loaded.',
      also: 'Accepted Reconciling',
      stable: undefined,
      versions: 'v1 Pending 0, v2 Pending 0',
    },
  },
  loading: {
    resource: iris(),
    observed: observed('iris-v1', observedUnit(v1, { state: 'Loading', ready: 0 })),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'False Progressing: Version v1 is being loaded.',
      also: 'Accepted Reconciling',
      stable: undefined,
      versions: 'v1 Loading 0, v2 Pending 0',
    },
  },
  'loaded, not yet reached': {
    resource: iris(),
    observed: observed(undefined, observedUnit(v1)),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'False Progressing: Version v1 is loaded and about to take the traffic.',
      also: 'Accepted Reconciling',
      stable: undefined,
      versions: 'v1 Loaded 1, v2 Pending 0',
    },
  },
  loaded: {
    resource: iris(),
    observed: observed('iris-v1', observedUnit(v1)),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'True Serving: Version v1 is loaded and takes the traffic.',
      also: 'Accepted Serving',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Pending 0',
    },
  },
  'one version, without `serve`': {
    resource: onlyV2,
    observed: observed('iris-v2', observedUnit(v2)),
    gives: {
      units: 'iris-v2',
      front: 'iris-v2',
      ready: 'True Serving: Version v2 is loaded and takes the traffic.',
      also: 'Accepted Serving',
      stable: 'v2',
      versions: 'v2 Loaded 1',
    },
  },
  'switching: the candidate is started': {
    resource: toV2,
    observed: observed('iris-v1', observedUnit(v1)),
    gives: {
      units: 'iris-v1 iris-v2',
      front: 'iris-v1',
      ready: 'False Progressing: Version v2 is being loaded. Version v1 goes on serving.',
      also: 'Accepted Serving Reconciling',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Pending 0',
    },
  },
  'switching: the candidate is ready': {
    resource: toV2,
    observed: observed('iris-v1', observedUnit(v1), observedUnit(v2)),
    gives: {
      units: 'iris-v1 iris-v2',
      front: 'iris-v2',
      ready: 'False Progressing: Version v2 is loaded and about to take the traffic. Version v1 goes on serving.',
      also: 'Accepted Serving Reconciling',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Loaded 1',
    },
  },
  'switched: the old one goes': {
    resource: toV2,
    observed: observed('iris-v2', observedUnit(v1), observedUnit(v2)),
    gives: {
      units: 'iris-v2',
      front: 'iris-v2',
      ready: 'True Serving: Version v2 is loaded and takes the traffic.',
      also: 'Accepted Serving',
      stable: 'v2',
      versions: 'v1 Pending 0, v2 Loaded 1',
    },
  },
  'the candidate fails': {
    resource: toV2,
    observed: observed('iris-v1', observedUnit(v1), observedUnit(v2, { state: 'Failed', ready: 0, failure })),
    gives: {
      units: 'iris-v1 iris-v2',
      front: 'iris-v1',
      ready: `False ModelInvalid: Version v2: /models/2 is not a model. ${remedy} Version v1 goes on serving.`,
      also: 'Accepted Serving Stalled',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Failed 0 ModelInvalid',
    },
  },
  'the candidate is withdrawn': {
    resource: iris({}, 3),
    observed: observed('iris-v1', observedUnit(v1), observedUnit(v2, { state: 'Failed', ready: 0, failure })),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'True Serving: Version v1 is loaded and takes the traffic.',
      also: 'Accepted Serving',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Pending 0',
    },
  },
  'the version that serves is not declared any more': {
    resource: onlyV2,
    observed: observed('iris-v1', observedUnit(v1), observedUnit(v2, { state: 'Loading', ready: 0 })),
    gives: {
      units: 'iris-v1 iris-v2',
      front: 'iris-v1',
      ready: 'False Progressing: Version v2 is being loaded. Version v1 goes on serving.',
      also: 'Accepted Serving Reconciling',
      stable: 'v1',
      versions: 'v2 Loading 0',
    },
  },
  'the candidate was loaded as it was before an edit': {
    resource: iris({ serve: 'v2', batching: { maxBatchSize: 1 } }, 3),
    observed: observed('iris-v1', observedUnit(v1), observedUnit(v2)),
    gives: {
      units: 'iris-v1 iris-v2',
      front: 'iris-v1',
      ready: 'False Progressing: Version v2 is being loaded. Version v1 goes on serving.',
      also: 'Accepted Serving Reconciling',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Loading 1',
    },
  },
  'an edit of what serves is not taken up yet': {
    resource: iris({ batching: { maxBatchSize: 1 } }, 2),
    observed: observed('iris-v1', observedUnit(v1)),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'False Progressing: Version v1 is being loaded. What is ready of it goes on serving.',
      also: 'Accepted Serving Reconciling',
      stable: 'v1',
      versions: 'v1 Loading 1, v2 Pending 0',
    },
  },
  'replicas: some are not ready': {
    resource: iris({ replicas: 3 }),
    observed: observed('iris-v1', observedUnit(unitOf(iris({ replicas: 3 })), { state: 'Loading', ready: 2 })),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'False Progressing: Version v1 is being loaded. What is ready of it goes on serving.',
      also: 'Accepted Serving Reconciling',
      stable: 'v1',
      versions: 'v1 Loading 2, v2 Pending 0',
    },
  },
  'a first load: its pods are ready, and nobody can ask them': {
    resource: iris(),
    observed: observed(
      'iris-v1',
      observedUnit(v1, { state: 'Failed', failure: { code: 'PodUnreachable', message: 'pod a is silent' } }),
    ),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: `False PodUnreachable: Version v1: pod a is silent. ${errors.PodUnreachable.remedy} What is ready of it goes on serving.`,
      also: 'Accepted Serving Stalled',
      stable: 'v1',
      versions: 'v1 Failed 1 PodUnreachable, v2 Pending 0',
    },
  },
  'replicas: the driver gives it one, and that is ready': {
    resource: iris({ replicas: 3 }),
    observed: observed('iris-v1', observedUnit(unitOf(iris({ replicas: 3 })), { ready: 1 })),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready: 'True Serving: Version v1 is loaded and takes the traffic.',
      also: 'Accepted Serving',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Pending 0',
    },
  },
  'what serves has crashed': {
    resource: iris(),
    observed: observed(
      'iris-v1',
      observedUnit(v1, { state: 'Failed', ready: 0, failure: { code: 'ModelCrashed', message: 'it died' } }),
    ),
    gives: {
      units: 'iris-v1',
      front: 'iris-v1',
      ready:
        'False ModelCrashed: Version v1: it died. The message has the signal or exit code. A file that kills the process each time wants a new export.',
      also: 'Accepted Stalled',
      stable: undefined,
      versions: 'v1 Failed 0 ModelCrashed, v2 Pending 0',
    },
  },
  'the candidate dies when the front has been told to move': {
    resource: toV2,
    observed: observed('iris-v1', observedUnit(v1), observedUnit(v2, { state: 'Loading', ready: 0 })),
    gives: {
      units: 'iris-v1 iris-v2',
      front: 'iris-v1',
      ready: 'False Progressing: Version v2 is being loaded. Version v1 goes on serving.',
      also: 'Accepted Serving Reconciling',
      stable: 'v1',
      versions: 'v1 Loaded 1, v2 Loading 0',
    },
  },
};

describe('plan', () => {
  it.each(Object.entries(cases))('%s', (_, { resource, observed: there, gives }) => {
    expect(brief(plan(resource, there, noon))).toEqual(gives);
  });

  it.each(['first deployment', 'switching: the candidate is started', 'the candidate fails'])(
    '%s: all of it, as in testdata',
    async (name) => {
      const { resource, observed: there } = cases[name]!;
      const text = `${JSON.stringify(plan(resource, there, noon), null, 2)}\n`;
      await expect(text).toMatchFileSnapshot(`testdata/${name.replace(/\W+/g, '-')}.json`);
    },
  );

  it('leaves what serves as it runs, whatever the edit, until it goes', () => {
    const edited = iris({ serve: 'v2', batching: { maxBatchSize: 1 } }, 2);
    const [serving, next] = plan(edited, observed('iris-v1', observedUnit(v1)), noon).units;
    expect(serving).toBe(v1);
    expect(next?.config.batching.maxBatchSize).toBe(1);
  });

  it('starts from what the path of a URI is inside the pod', () => {
    const uris = { 'file:///a%20b/m.onnx': '/a b/m.onnx', 'file:///a/./b/../c': '/a/c' };
    for (const [uri, path] of Object.entries(uris)) {
      expect(unitOf(iris({ versions: [{ name: 'v1', uri }] })).config.path).toBe(path);
    }
  });
});

describe('what a version is resolved to', () => {
  const digest = `sha256:${digestOf('/models/1')}`;
  const loaded = observed('iris-v1', observedUnit(v1));
  const statusOf = (resource: ModelDeployment, there: Observed, now = noon) => plan(resource, there, now).status;

  it('is known when it is loaded, stays, and binds processes that start later', () => {
    const first = statusOf(iris(), loaded);
    expect(first.versions[0]?.resolved).toEqual({ uri: 'file:///models/1', digest });
    const after = plan({ ...iris(), status: first }, nothingObserved, later);
    expect(after.status.versions[0]?.resolved).toEqual({ uri: 'file:///models/1', digest });
    expect(after.units[0]?.config.resolvedSha256).toBe(digestOf('/models/1'));
    expect(sameUnit(after.units[0]!, v1)).toBe(true);
  });

  it('is not known of a file that was read but never loaded', () => {
    const failed = observedUnit(v1, { state: 'Failed', ready: 0, failure });
    expect(statusOf(iris(), observed('iris-v1', failed)).versions[0]?.resolved).toBeUndefined();
  });

  it('is not what another file has, that an entry of the same name named before', () => {
    const other = iris({ versions: [{ name: 'v1', uri: 'file:///models/9' }] }, 2);
    const { units, status } = plan(other, loaded, noon);
    expect(status.versions[0]).toEqual({ name: 'v1', state: 'Loading', ready: 1 });
    expect(units[0]?.config).not.toHaveProperty('resolvedSha256');
    const before = { ...other, status: statusOf(iris(), loaded) };
    expect(plan(before, loaded, noon).units[0]?.config).not.toHaveProperty('resolvedSha256');
  });

  it('differs from the file that is there now: ArtifactChanged, while it goes on serving', () => {
    const there = observed('iris-v1', observedUnit(v1, { artifactNow: digestOf('7') }));
    expect(brief(plan({ ...iris(), status: statusOf(iris(), loaded) }, there, later))).toMatchObject({
      ready: expect.stringMatching(/^False ArtifactChanged: .*What runs goes on running\.$/),
      also: 'Accepted Serving Stalled',
      stable: 'v1',
      versions: 'v1 Loaded 1 ArtifactChanged, v2 Pending 0',
    });
  });
});

describe('times in the status', () => {
  const failing = observed('iris-v1', observedUnit(v1), observedUnit(v2, { state: 'Failed', ready: 0, failure }));

  it('stay as long as what they speak of does', () => {
    const status = plan(toV2, failing, noon).status;
    expect(plan({ ...toV2, status }, failing, later).status).toEqual(status);
  });

  it('of a condition change with its status, not with its reason', () => {
    const started = plan(toV2, observed('iris-v1', observedUnit(v1)), noon).status;
    const failed = plan({ ...toV2, status: started }, failing, later).status;
    const time = (type: string) => failed.conditions.find((entry) => entry.type === type)?.lastTransitionTime;
    expect({ Ready: time('Ready'), Stalled: time('Stalled'), Serving: time('Serving') }).toEqual({
      Ready: noon,
      Stalled: later,
      Serving: noon,
    });
  });

  it('keep the last failure until the version is loaded', () => {
    const failed = plan(toV2, failing, noon).status;
    const withdrawn = plan({ ...iris({}, 3), status: failed }, failing, later).status;
    expect(withdrawn.versions[1]).toMatchObject({
      state: 'Pending',
      lastFailure: { reason: 'ModelInvalid', time: noon },
    });
    const again = plan({ ...toV2, status: withdrawn }, observed('iris-v1', observedUnit(v1)), later);
    expect(brief(again)).toMatchObject({
      ready: expect.stringMatching(/^False Progressing/),
      also: expect.not.stringContaining('Stalled'),
    });
    const there = observed('iris-v1', observedUnit(v1), observedUnit(v2));
    expect(plan({ ...toV2, status: again.status }, there, later).status.versions[1]).not.toHaveProperty('lastFailure');
  });
});
