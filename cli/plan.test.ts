import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readYaml } from '../operator/source/yaml.ts';
import packageJson from '../package.json' with { type: 'json' };
import { planCommand } from './plan.ts';
import { run } from './testing.ts';

const examples = join(import.meta.dirname, '../examples');
const hasResources = (name: string) => readdirSync(join(examples, name)).some((file) => file.endsWith('.yaml'));
const names = existsSync(examples) ? readdirSync(examples).filter(hasResources) : [];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'levada-plan-'));
  const head = 'apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata:\n  name: iris\nspec:\n';
  const versions = '  versions: [{ name: v1, uri: file:///m/1 }, { name: 0o17, uri: file:///m/2 }]\n';
  await writeFile(join(folder, 'good.yaml'), `${head}${versions.replace('0o17', '"0o17"')}  serve: "0o17"\n`);
  await writeFile(join(folder, 'bad.yaml'), `${head}${versions}  serve: v1\n`);
});
afterAll(() => rm(folder, { recursive: true }));

describe('levada plan', () => {
  it.each(names)('prints golden/%s.yaml for that example', async (name) => {
    const { stdout, exitCode } = await run(planCommand(), '--image', 'levada:golden', join(examples, name));
    expect(exitCode).toBeUndefined();
    await expect(stdout).toMatchFileSnapshot(`golden/${name}.yaml`);
  });

  it('prints the same objects as YAML and as a List', async () => {
    const yaml = await run(planCommand(), join(folder, 'good.yaml'));
    const json = await run(planCommand(), '-o', 'json', join(folder, 'good.yaml'));
    const { documents, problems } = readYaml(yaml.stdout);
    expect(problems).toEqual([]);
    const { items, ...list } = JSON.parse(json.stdout);
    expect(list).toEqual({ apiVersion: 'v1', kind: 'List' });
    expect(documents.map(({ value }) => value)).toEqual(items);
    expect(items.map(({ kind }: { kind: string }) => kind)).toEqual(['ConfigMap', 'Deployment', 'Service', 'Service']);
    expect(items[3].spec.selector).toEqual({ 'levada.dev/model': 'iris', 'levada.dev/version': '0o17' });
  });

  it('takes the image of its own version, or the one that is named', async () => {
    const own = await run(planCommand(), join(folder, 'good.yaml'));
    expect(own.stdout).toContain(`image: levada:${packageJson.version}\n`);
    const named = await run(planCommand(), '--image', 'mine@sha256:1', join(folder, 'good.yaml'));
    expect(named.stdout).toContain('image: mine@sha256:1\n');
  });

  it('prints no object where there is a problem', async () => {
    const { stdout, stderr, exitCode } = await run(planCommand(), join(folder, 'bad.yaml'));
    expect({ stdout, exitCode }).toEqual({ stdout: '', exitCode: 1 });
    expect(stderr).toMatch(
      /bad\.yaml:6:54: spec\.versions\[1\]\.name: found 0o17 \(a number for kubectl: quote it\).*\n1 problem in 1 file\n$/,
    );
  });
});
