import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { writeArchive } from './archive.ts';
import { dockerfile } from './image.ts';

const run = promisify(execFile);
const config = { Cmd: ['node'], User: '65532:65532', WorkingDir: '/app', Env: ['PATH=/usr/local/bin'] };

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'levada-archive-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

/** A layer's folder: the same files whatever their order, time and mode. */
async function layer(names: readonly string[], time: number, mode: number, text = 'one'): Promise<string> {
  const folder = await scratch();
  await mkdir(join(folder, 'app'));
  for (const name of names) {
    await writeFile(join(folder, 'app', name), text, { mode });
    await utimes(join(folder, 'app', name), time, time);
  }
  return folder;
}

test('the same content is the same bytes; other content has another digest', async () => {
  const out = await scratch();
  const write = (name: string, folder: string) => writeArchive(join(out, name), 'levada/test:1', config, [{ folder }]);
  const one = await write('one', await layer(['a', 'b'], 1_000, 0o644));
  const same = await write('same', await layer(['b', 'a'], 2_000, 0o600));
  const other = await write('other', await layer(['a', 'b'], 1_000, 0o644, 'two'));
  expect(same.digest).toBe(one.digest);
  expect(await readFile(same.path)).toEqual(await readFile(one.path));
  expect(other.digest).not.toBe(one.digest);
});

test('it is what docker load takes: a manifest that names configuration and layers by their digests', async () => {
  const out = await scratch();
  const folders = [await layer(['a'], 1_000, 0o644), await layer(['b'], 1_000, 0o644)];
  const { path, digest } = await writeArchive(
    join(out, 'image.tar'),
    'levada/test:1',
    config,
    folders.map((folder) => ({ folder })),
  );
  await run('tar', ['-xf', path, '-C', out]);
  const [image] = JSON.parse(await readFile(join(out, 'manifest.json'), 'utf8')) as Array<{
    Config: string;
    RepoTags: string[];
    Layers: string[];
  }>;
  expect(image).toMatchObject({ Config: `${digest.slice(7)}.json`, RepoTags: ['levada/test:1'] });
  const settings = JSON.parse(await readFile(join(out, image!.Config), 'utf8')) as { rootfs: { diff_ids: string[] } };
  expect(settings).toMatchObject({ os: 'linux', config });
  for (const [index, name] of image!.Layers.entries()) {
    const { stdout } = await run('sha256sum', [join(out, name)]);
    expect(`sha256:${stdout.split(' ')[0]}`).toBe(settings.rootfs.diff_ids[index]);
    const { stdout: files } = await run('tar', ['-tvf', join(out, name)]);
    expect(files).toMatch(/^-rw-r--r-- 0\/0 .* 1970-01-01 .*\.\/app\/[ab]$/m);
  }
});

test('Docker is told the same', () => {
  expect(dockerfile(config, ['layer-0', 'layer-1'])).toBe(
    [
      'FROM scratch',
      'COPY layer-0/ /',
      'COPY layer-1/ /',
      'ENV PATH=/usr/local/bin',
      'WORKDIR /app',
      'USER 65532:65532',
      'CMD ["node"]',
      '',
    ].join('\n'),
  );
});
