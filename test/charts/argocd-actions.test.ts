/** Actions that Argo CD offers for a rollout, against what the operator makes of the commands. */
import { describe, expect, it } from 'vitest';
import { rolloutCommand } from '../../api/contract/names.ts';
import type { ModelDeployment } from '../../api/v1alpha1/model-deployment.ts';
import { iris } from '../../operator/plan/model/testing.ts';
import { verbs } from '../../operator/plan/rollout/commands.ts';
import { ready, spec, World, wanted } from '../../operator/plan/rollout/testing.ts';
import { noLua, runLua } from '../support/lua.ts';

const approval = { ...spec, steps: [{ weight: 5, hold: '1m', approval: true }] };
const slow = { ready: 1, fullCapacity: false };

/** Rollouts on their way, by the phase that they are in. */
const worlds: Record<string, () => World> = {
  Progressing: () => begun(),
  Waiting: () => begun().until('Waiting', 0),
  AwaitingApproval: () => begun({ rollout: approval }).until('AwaitingApproval'),
  Paused: () => after(begun(), 'pause'),
  'Paused by a failure': () => begun({ rollout: { ...spec, onFailure: 'Pause' } }).until('Paused', 100, 50),
  Promoting: () => begun({}, { v2: slow }).until('Promoting'),
  'Promoting by a command': () => after(begun({}, { v2: slow }), 'promote'),
  Holding: () => begun().until('Holding'),
  RolledBack: () => begun().until('RolledBack', 100, 50),
  Aborted: () => after(begun(), 'abort'),
};

function begun(change: Parameters<typeof wanted>[0] = {}, versions: World['versions'] = {}): World {
  const world = new World();
  world.wanted = wanted(change);
  world.versions = { v1: ready, v2: ready, v3: ready, ...versions };
  world.look();
  world.look();
  return world;
}

function after(world: World, verb: string): World {
  world.say(verb);
  world.look();
  return world;
}

const objectOf = ({ status }: World, annotations?: Record<string, string>): ModelDeployment => {
  const resource = iris({ serve: 'v2' });
  const metadata = { ...resource.metadata, ...(annotations && { annotations }) };
  return { ...resource, metadata, status: { conditions: [], versions: [], rollout: status } as never };
};

const offered = (obj: object): string[] => {
  const found = runLua(
    'actions/discovery.lua',
    obj,
    verbs.map((verb) => `${verb} disabled`),
  );
  return verbs.filter((_, i) => found[i] === 'false');
};

describe.skipIf(noLua)(`actions of Argo CD${noLua ? ` (skipped: ${noLua})` : ''}`, () => {
  it.each(Object.entries(worlds))('%s: what is offered is what is done', (name, make) => {
    expect(make().status?.phase).toBe(name.split(' ')[0]);
    const done = verbs.filter((verb) => {
      const world = make();
      const obj = objectOf(world, { team: 'shop' });
      const key = `metadata annotations ${rolloutCommand}`;
      const [command = '', team] = runLua(`actions/${verb}.lua`, obj, [key, 'metadata annotations team']);
      expect({ command, team }).toEqual({ command: `${verb}/${world.id}`, team: 'shop' });
      world.wanted = { ...world.wanted, command };
      const { status } = world.look();
      expect(status.command?.text).toBe(command);
      return status.command?.outcome === 'Done';
    });
    expect(offered(objectOf(make()))).toEqual(done);
  });

  it('an object without annotations gets one', () => {
    const world = begun();
    const [command] = runLua('actions/pause.lua', objectOf(world), [`metadata annotations ${rolloutCommand}`]);
    expect(command).toBe(`pause/${world.id}`);
  });

  it('nothing is offered, nor done, where there is no rollout', () => {
    const idle = { ...iris(), status: { conditions: [], versions: [], rollout: { phase: 'Stable', stable: 'v1' } } };
    for (const obj of [iris(), { ...iris(), status: { conditions: [], versions: [] } }, idle]) {
      expect(offered(obj)).toEqual([]);
      for (const verb of verbs) expect(() => runLua(`actions/${verb}.lua`, obj, [])).toThrow('no rollout is under way');
    }
  });
});
