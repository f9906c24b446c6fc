/** An image from its contents: by Docker where that is, and without it as a file. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Archive, type ImageConfig, type Layer, writeArchive } from './archive.ts';

const run = promisify(execFile);
const cache = join(process.env['LEVADA_CACHE_DIR'] ?? join(homedir(), '.cache', 'levada'), 'images');

export interface ImageSource {
  readonly name: string;
  /** Where something names it. Default: that of whoever makes it. */
  readonly version?: string;
  readonly config: ImageConfig;
  /** What fills each layer, given an empty folder; what changes seldom comes first. */
  readonly layers: ReadonlyArray<(folder: string) => Promise<Layer>>;
}

const hasDocker = (): Promise<boolean> =>
  run('docker', ['info']).then(
    () => true,
    () => false,
  );

/** Makes an image. Its archive is kept outside the clone, until the next of its name. */
export async function buildImage(source: ImageSource, version: string): Promise<Archive> {
  await mkdir(cache, { recursive: true });
  // Beside the archive: links to files reach no other disk.
  const work = await mkdtemp(join(cache, 'making-'));
  try {
    const layers: Layer[] = [];
    for (const [index, fill] of source.layers.entries()) {
      const folder = join(work, `layer-${index}`);
      await mkdir(folder);
      layers.push(await fill(folder));
    }
    const tag = `${source.name}:${source.version ?? version}`;
    const path = join(cache, `${tag.replaceAll(/[/:]/g, '-')}.tar`);
    return (await hasDocker())
      ? await buildByDocker(path, tag, source.config, work, layers)
      : await writeArchive(path, tag, source.config, layers);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Written for contributors who have Docker; not run on the machines that Levada is made on. */
async function buildByDocker(
  path: string,
  tag: string,
  config: ImageConfig,
  context: string,
  layers: readonly Layer[],
): Promise<Archive> {
  const file = join(await mkdtemp(join(tmpdir(), 'levada-image-')), 'Dockerfile');
  await writeFile(
    file,
    dockerfile(
      config,
      layers.map(({ folder }) => folder.slice(context.length + 1)),
    ),
  );
  await run('docker', ['build', '--tag', tag, '--file', file, context], { maxBuffer: 64 << 20 });
  await run('docker', ['save', '--output', path, tag]);
  const { stdout } = await run('docker', ['image', 'inspect', '--format', '{{.Id}}', tag]);
  return { tag, digest: stdout.trim(), path, bytes: (await stat(path)).size };
}

/** The same layers and settings, for Docker. */
export function dockerfile({ Entrypoint, Cmd, Env, User, WorkingDir }: ImageConfig, layers: readonly string[]): string {
  return [
    'FROM scratch',
    ...layers.map((layer) => `COPY ${layer}/ /`),
    ...(Env ?? []).map((one) => `ENV ${one}`),
    ...(WorkingDir ? [`WORKDIR ${WorkingDir}`] : []),
    ...(User ? [`USER ${User}`] : []),
    ...(Entrypoint ? [`ENTRYPOINT ${JSON.stringify(Entrypoint)}`] : []),
    ...(Cmd ? [`CMD ${JSON.stringify(Cmd)}`] : []),
    '',
  ].join('\n');
}
