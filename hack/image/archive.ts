/** Images as files, without Docker: what `docker load`, `kind load image-archive` and containerd import. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** What a container of an image is started with, as the image specification has it. */
export interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly WorkingDir?: string;
}

export interface Layer {
  readonly folder: string;
  /** Of tar. Default: all is root's, and nobody else may write. */
  readonly flags?: readonly string[];
}

export interface Archive {
  readonly tag: string;
  /** `sha256:…` of the configuration, which names the layers: what Docker calls the image's id. */
  readonly digest: string;
  readonly path: string;
  readonly bytes: number;
}

const rootOnly = ['--owner=0', '--group=0', '--mode=u=rwX,go=rX'];

/** Writes an image: the same content is the same bytes. */
export async function writeArchive(
  path: string,
  tag: string,
  config: ImageConfig,
  layers: readonly Layer[],
): Promise<Archive> {
  await mkdir(dirname(path), { recursive: true });
  const making = await mkdtemp(`${path}.`);
  try {
    const names: string[] = [];
    for (const [index, { folder, flags = rootOnly }] of layers.entries()) {
      const file = join(making, `layer-${index}`);
      await tar(file, folder, flags);
      const name = `${await sha256(file)}.tar`;
      await rename(file, join(making, name));
      names.push(name);
    }
    const settings = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      created: '1970-01-01T00:00:00Z', // the same content, the same digest
      config,
      rootfs: { type: 'layers', diff_ids: names.map((name) => `sha256:${name.replace('.tar', '')}`) },
    });
    const id = createHash('sha256').update(settings).digest('hex');
    await writeFile(join(making, `${id}.json`), settings);
    const manifest = [{ Config: `${id}.json`, RepoTags: [tag], Layers: names }];
    await writeFile(join(making, 'manifest.json'), JSON.stringify(manifest));
    await tar(`${making}.tar`, making, rootOnly);
    await rename(`${making}.tar`, path);
    return { tag, digest: `sha256:${id}`, path, bytes: (await stat(path)).size };
  } finally {
    await rm(making, { recursive: true, force: true });
    await rm(`${making}.tar`, { force: true });
  }
}

/** GNU tar: order, times and owners depend on nothing but the content. */
async function tar(file: string, folder: string, flags: readonly string[]): Promise<void> {
  const fixed = ['--format=gnu', '--sort=name', '--mtime=@0', '--numeric-owner', '--hard-dereference'];
  await run('tar', [...fixed, ...flags, '-C', folder, '-cf', file, '.'], { maxBuffer: 64 << 20 });
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
