/** The one image: the operator, the runtime and the CLI. */
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Layer } from './archive.ts';
import { place, placeFolder, placeRoot } from './files.ts';
import type { ImageSource } from './image.ts';

const root = resolve(import.meta.dirname, '../..');
const onnx = `bin/napi-v6/${process.platform}/${process.arch}`;

/** What of the clone is in it, beside the packages that package.json calls dependencies. */
const contents = ['api', 'brokers', 'operator', 'runtime', 'cli', 'package.json', 'LICENSE'];
/** What tests bring along. */
const isTest = /(\.test\.ts|(^|\/)(testing|conformance)\.ts|(^|\/)(golden|testdata|conformance))$/;
/** What only editors read. */
const isForEditors = /\.(d\.[cm]?ts|map)$/;

interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean; readonly devOptional?: boolean }>>;
}

export const nodeProgram = join(root, 'node_modules/node/bin/node');

/** Node, and what it runs as. */
export const nodeConfig = {
  User: '65532:65532',
  WorkingDir: '/app',
  Env: ['PATH=/usr/local/bin', 'NODE_ENV=production'],
};

export async function nodeLayer(folder: string): Promise<Layer> {
  const binaries = ['onnxruntime_binding.node', 'libonnxruntime.so.1'];
  await placeRoot(
    folder,
    { 'usr/local/bin/node': nodeProgram },
    binaries.map((name) => join(root, 'node_modules/onnxruntime-node', onnx, name)),
  );
  return { folder };
}

async function packagesLayer(folder: string): Promise<Layer> {
  const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as Lock;
  for (const [path, { dev, devOptional }] of Object.entries(lock.packages)) {
    if (path === '' || dev || devOptional) continue;
    const isOnnx = path === 'node_modules/onnxruntime-node';
    await placeFolder(join(root, path), join(folder, 'app', path), (file) => {
      // What is nested is named by the lock file as well.
      if (file === 'node_modules' || isForEditors.test(file)) return false;
      return !isOnnx || !file.startsWith('bin/') || onnx.startsWith(file) || file.startsWith(`${onnx}/`);
    });
  }
  return { folder };
}

async function ownLayer(folder: string): Promise<Layer> {
  for (const name of contents) {
    const [from, to] = [join(root, name), join(folder, 'app', name)];
    if (/\.|LICENSE/.test(name)) await place(from, to);
    else await placeFolder(from, to, (file) => !isTest.test(file));
  }
  return { folder };
}

/** Pods mount a folder there; who runs the image alone may write to this one. */
export async function scratchLayer(folder: string): Promise<Layer> {
  await mkdir(join(folder, 'tmp'));
  await chmod(folder, 0o755);
  await chmod(join(folder, 'tmp'), 0o1777);
  return { folder, flags: ['--owner=0', '--group=0'] };
}

export const levadaImage: ImageSource = {
  name: 'levada/levada',
  config: { ...nodeConfig, Cmd: ['node', 'cli/main.ts', '--help'] },
  layers: [scratchLayer, nodeLayer, packagesLayer, ownLayer],
};
