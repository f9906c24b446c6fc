/** What docs/guides/rollouts.md shows: resources are valid, and the picture is the one of a test. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { phases, verdicts } from '../../api/v1alpha1/rollout.ts';
import { loadPaths } from '../../operator/source/load.ts';

const root = join(import.meta.dirname, '../..');
const guide = await readFile(join(root, 'docs/guides/rollouts.md'), 'utf8');
const blocks = (language: string) =>
  [...guide.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].flatMap(([, found, text = '']) =>
    found === language ? [text] : [],
  );

const head = 'apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: iris }\n';
const versions = '  versions: [{ name: v1, uri: "file:///m/1" }, { name: v2, uri: "file:///m/2" }]\n';

it.for(blocks('yaml'))('is valid: %s', async (text) => {
  const serve = text.includes('serve:') ? '' : '  serve: v1\n';
  const whole = text.startsWith('spec:') ? head + text.replace('spec:\n', `spec:\n${versions}${serve}`) : text;
  const folder = await mkdtemp(join(tmpdir(), 'levada-guide-'));
  try {
    await writeFile(join(folder, 'iris.yaml'), whole);
    const { problems, resources } = await loadPaths([folder]);
    expect(problems).toEqual([]);
    expect(resources).toHaveLength(1);
  } finally {
    await rm(folder, { recursive: true });
  }
});

it('shows a picture as the command prints it', async () => {
  const golden = await readFile(join(root, 'cli/golden/rollout/progressing.txt'), 'utf8');
  expect(blocks('').map((text) => text.trim())).toContain(golden.slice(0, golden.indexOf('\n\nlast rollback')));
});

it.each([...phases, ...verdicts])('says what %s is', (name) => expect(guide).toContain(`\n| \`${name}\` | `));
