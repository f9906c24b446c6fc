/** Who connects to the broker by which password is nobody's to see. */
import { randomUUID } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { settingsFromUri } from '../../brokers/rabbitmq/settings.ts';
import { type ProcessInfo, processes } from '../support/processes.ts';
import { freshVhost, onNewestRabbit } from '../support/rabbitmq.ts';
import { Workspace } from '../support/up.ts';
import { until } from '../support/wait.ts';
import { ask } from './rabbitmq/harness.ts';

const model = {
  apiVersion: 'levada.dev/v1alpha1',
  kind: 'ModelDeployment',
  metadata: { name: 'iris' },
  spec: { versions: [{ name: 'v1', uri: 'file:///models/iris/1' }] },
};
const pipeline = {
  apiVersion: 'levada.dev/v1alpha1',
  kind: 'EventPipeline',
  metadata: { name: 'flow' },
  spec: {
    sources: [{ name: 'api', emits: 'thing', http: { path: '/' } }],
    steps: [{ name: 'one', consumes: ['thing'], transform: '{% {} %}', emits: ['other'] }],
  },
};

const below = (parent: number): ProcessInfo[] =>
  processes()
    .filter((one) => one.parent === parent)
    .flatMap((one) => [one, ...below(one.pid)]);

async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  const paths = names.map((name) => join(folder, name));
  const files = await Promise.all(paths.map(async (path) => ((await stat(path)).isFile() ? [path] : [])));
  return files.flat();
}

onNewestRabbit((broker) => {
  test.for(['LEVADA_BROKER_URL', 'Secret'])(
    'the password of %s is in no argument, environment, file, log or status',
    async (from) => {
      const { host, port, vhost } = settingsFromUri(await freshVhost(broker), 'the test');
      const password = `secret-${randomUUID()}`;
      const username = `user-${randomUUID()}`;
      await ask(broker, 'PUT', `users/${username}`, { password, tags: '' });
      const all = { configure: '.*', write: '.*', read: '.*' };
      await ask(broker, 'PUT', `permissions/${vhost}/${username}`, all);
      const uri = `amqp://${username}:${password}@${host}:${port}/${vhost}`;
      await using workspace = await Workspace.create();
      await workspace.write('res/model.json', model);
      if (from === 'Secret') {
        const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'mq' }, stringData: { uri } };
        await workspace.write('res/secret.json', secret);
        const spec = { ...pipeline.spec, broker: { rabbitmq: { secretRef: { name: 'mq' } } } };
        await workspace.write('res/flow.json', { ...pipeline, spec });
      } else {
        workspace.env['LEVADA_BROKER_URL'] = uri;
        await workspace.write('res/flow.json', pipeline);
      }
      const up = workspace.spawn(['up', 'res']);
      await up.says('flow: Running', { timeoutMs: 60_000 });
      const children = await until('the model and the step have processes', () => {
        const all = below(up.pid);
        return ['runtime/main.ts', 'runtime/worker.ts'].every((one) => all.some((c) => c.command.includes(one))) && all;
      });
      for (const { pid, command } of children) {
        expect(command).not.toContain(password);
        expect(await readFile(`/proc/${pid}/environ`, 'utf8'), command).not.toContain(password);
      }
      const shown = [
        (await workspace.levada('status', 'flow', '-o', 'json')).stdout,
        (await workspace.levada('get', '-o', 'json')).stdout,
      ];
      for (const file of await filesIn(workspace.path('.levada'))) {
        expect((await readFile(file)).includes(password), file).toBe(false);
      }
      await up.interrupt();
      expect([...shown, up.output].join('\n')).not.toContain(password);
    },
  );
});
