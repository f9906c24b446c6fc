/** What sends requests from inside of a cluster, for its tests: the load client and the examples with their expected results. */
import { join, resolve } from 'node:path';
import { place, placeFolder } from './files.ts';
import type { ImageSource } from './image.ts';
import { nodeConfig, nodeLayer, scratchLayer } from './levada.ts';

const root = resolve(import.meta.dirname, '../..');

export const clientImage: ImageSource = {
  name: 'levada/client',
  config: { ...nodeConfig, Cmd: ['node', '-e', 'setInterval(() => {}, 1e9)'] }, // waits for `kubectl exec`
  layers: [
    scratchLayer,
    nodeLayer,
    async (folder) => {
      for (const name of ['load.ts', 'open-loop.ts', 'questions.ts', 'wait.ts', 'sink.ts']) {
        await place(join(root, 'test/support', name), join(folder, 'app/test/support', name));
      }
      await place(join(root, 'package.json'), join(folder, 'app/package.json'));
      for (const name of ['examples', 'test/fixtures/models']) {
        await placeFolder(join(root, name), join(folder, 'app', name), () => true);
      }
      return { folder };
    },
  ],
};
