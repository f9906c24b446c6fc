import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from './testing.ts';
import { validateCommand } from './validate.ts';

let folder: string;
beforeAll(async () => {
  folder = relative(process.cwd(), await mkdtemp(join(tmpdir(), 'levada-validate-')));
  const head = (name: string) =>
    `apiVersion: levada.dev/v1alpha1\nkind: ModelDeployment\nmetadata: { name: ${name} }\nspec:\n`;
  await writeFile(
    join(folder, 'good.yaml'),
    `${head('good')}  versions: [{ name: v1, uri: file:///m }]\n---\nkind: Secret\napiVersion: v1\nmetadata: { name: db }\n`,
  );
  await writeFile(join(folder, 'bad.yaml'), `${head('no')}  versions:\n  - { name: v1, ury: file:///m }\n`);
});
afterAll(() => rm(folder, { recursive: true }));

describe('levada validate', () => {
  it('says that all is well, and what it left out', async () => {
    expect(await run(validateCommand(), join(folder, 'good.yaml'))).toEqual({
      stdout: '1 resource is valid\n',
      stderr: `${folder}/good.yaml: ignored: v1 Secret db (not a levada.dev kind)\n`,
      exitCode: 0,
    });
  });

  it('prints every problem with its place', async () => {
    const { stdout, exitCode } = await run(validateCommand(), folder, 'nowhere.yaml');
    expect(stdout.replaceAll(`${folder}/`, '').split('\n')).toEqual([
      'nowhere.yaml: no such file or folder (FileNotFound)',
      'bad.yaml:3:19: metadata.name: found no (a boolean for kubectl: quote it); allowed: a string (InvalidType)',
      'bad.yaml:6:5: spec.versions[0].uri: required, but missing (MissingField)',
      'bad.yaml:6:17: spec.versions[0].ury: unknown field `ury`; allowed: name, uri, sha256 (did you mean uri?) (UnknownField)',
      '4 problems in 2 files',
      '',
    ]);
    expect(exitCode).toBe(1);
  });

  it('prints a form for machines', async () => {
    const good = await run(validateCommand(), '-o', 'json', join(folder, 'good.yaml'));
    const file = `${folder}/good.yaml`;
    expect(JSON.parse(good.stdout)).toEqual({
      valid: true,
      resources: [{ kind: 'ModelDeployment', name: 'default/good', file, line: 1 }],
      problems: [],
      notes: [`${file}: ignored: v1 Secret db (not a levada.dev kind)`],
    });
    const bad = await run(validateCommand(), '-o', 'json', join(folder, 'bad.yaml'));
    expect(JSON.parse(bad.stdout)).toMatchObject({
      valid: false,
      problems: [{ line: 3, column: 19, code: 'InvalidType' }, {}, {}],
    });
    expect(bad.exitCode).toBe(1);
  });

  it.each([[[]], [['-o', 'xml', 'a']], [['--nonsense', 'a']]])('refuses the arguments %j', async (args) => {
    await expect(run(validateCommand(), ...args)).rejects.toMatchObject({ name: 'CommanderError' });
  });
});
