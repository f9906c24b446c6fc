import { expect, it } from 'vitest';
import { startLoad } from '../support/load.ts';
import { modelServers, noProcesses } from '../support/processes.ts';
import { iris, Workspace } from '../support/up.ts';

/** Each loads a model on processors that the load keeps busy. `npm run prove -- local` has fifty. */
const switches = process.env['LEVADA_PROVE'] ? 50 : 20;
const connections = 64;

it(`switches ${switches} times under ${connections} connections: nothing fails, every answer is its version's`, {
  timeout: 240_000,
}, async () => {
  await using ws = await Workspace.create();
  await ws.write('res/iris.yaml', iris());
  const up = await ws.up();
  await up.says('takes the traffic. http');
  const load = await startLoad((await ws.get()).services['iris'] ?? '', connections);
  for (let i = 1; i <= switches; i++) {
    const serve = i % 2 === 1 ? 'v2' : 'v1';
    const from = up.output.length;
    await ws.write('res/iris.yaml', iris({ serve }));
    await up.says(`Version ${serve} is loaded and takes the traffic`, { from });
  }
  const result = await load.stop();
  expect(result).toMatchObject({ wrong: 0, failed: 0, samples: [] });
  // Both have served all along, and most answers could not have come from the other one.
  expect(result.versions['v1']).toBeGreaterThan(switches);
  expect(result.versions['v2']).toBeGreaterThan(switches);
  expect(result.telling).toBeGreaterThan(result.ok / 3);
  expect(await up.interrupt()).toMatchObject({ code: 0, stderr: '' });
  if (!noProcesses) expect(modelServers(ws.folder)).toEqual([]);
});
