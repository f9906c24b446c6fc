/** The services of examples/shop, for tests on a cluster: Node's twins, as an image of Java would hold ten times as much. */
import { join, resolve } from 'node:path';
import { place } from './files.ts';
import type { ImageSource } from './image.ts';
import { nodeConfig, nodeLayer, scratchLayer } from './levada.ts';

const services = resolve(import.meta.dirname, '../../examples/shop/services');

const service = (name: string): ImageSource => ({
  name: `shop/${name}`,
  version: '1', // as shop.yaml has it
  config: { ...nodeConfig, Env: [...nodeConfig.Env, 'HOST=0.0.0.0', 'PORT=8080'], Cmd: ['node', `${name}.mjs`] },
  layers: [
    scratchLayer,
    nodeLayer,
    async (folder) => {
      for (const file of [`${name}.mjs`, 'faults.mjs']) await place(join(services, file), join(folder, 'app', file));
      return { folder };
    },
  ],
});

export const shopImages = [service('inventory'), service('shipping')];
