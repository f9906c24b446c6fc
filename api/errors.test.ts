import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { errorGroups, errors } from './errors.ts';

const root = join(import.meta.dirname, '..');
const codes = Object.keys(errors);

/** Sources that users run, by path; a registered code has to be theirs, not a test's. */
const sources = ['api', 'brokers', 'operator', 'runtime', 'cli'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|mjs|py)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => !/node_modules|testdata|\.test\.ts$|conformance\.ts$/.test(path))
    .filter((path) => !path.startsWith(join(import.meta.dirname, 'errors')))
    .map((path) => ({ path: path.slice(root.length + 1), text: readFileSync(path, 'utf8') })),
);

/** Where a string is a code by its place, whatever the compiler knows of its type. */
const places = [
  /\b(?:problem|LevadaError|errorMessage|errorOutcome|errorStatus)\(\s*['"](\w+)['"]/g,
  /\bcode['"]?\s*(?::|[=!]?==?)\s*['"]([A-Z][a-z]\w*)['"]/g,
  /'x-levada-error['"],?\s*:?\s*['"](\w+)['"]/g,
  // in what the API server prints for a rule: `serve names a declared version (ServeUnknown)`
  /\bmessage: .*\(([A-Z][a-z]+[A-Z]\w*)\)['"`]/g,
];

describe('errors', () => {
  test('a code that the source uses is registered', () => {
    const unknown = sources.flatMap(({ path, text }) =>
      places
        .flatMap((place) => [...text.matchAll(place)].map(([, code = '']) => code))
        .filter((code) => !codes.includes(code))
        .map((code) => `${path}: ${code}`),
    );
    expect(unknown).toEqual([]);
  });

  test('a registered code is used in the source', () => {
    const used = new Set(
      sources.flatMap(({ text }) => [...text.matchAll(/(['"`])(\w+)\1/g)].map(([, , word = '']) => word)),
    );
    expect(codes.filter((code) => !used.has(code))).toEqual([]);
  });

  test('a registered code is documented', () => {
    const page = readFileSync(join(root, 'docs/reference/errors.md'), 'utf8');
    const documented = [...page.matchAll(/^\| `(\w+)` *\|/gm)].map(([, code]) => code);
    expect(documented.sort()).toEqual(codes.toSorted());
  });

  test('a code stands in one group', () => {
    const grouped = Object.values(errorGroups).flatMap((group) => Object.keys(group.errors));
    expect(grouped.sort()).toEqual(codes.toSorted());
  });

  test.each(Object.entries(errors))('%s can be a reason of a condition and says what to do', (code, { remedy }) => {
    expect(code).toMatch(/^[A-Z][a-z][A-Za-z0-9]*$/);
    expect(code.length).toBeLessThanOrEqual(64);
    expect(remedy).toMatch(/\.$/);
  });
});
