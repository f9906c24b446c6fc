/**
 * Images of this clone, by Docker where that is, and without it as archives.
 *
 *   node hack/image.ts [NAME…] [--version VERSION]      default: levada, and the chart's appVersion
 */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { parse } from 'yaml';
import { clientImage } from './image/client.ts';
import { buildImage, type ImageSource } from './image/image.ts';
import { levadaImage } from './image/levada.ts';
import { rabbitImage } from './image/rabbitmq.ts';
import { shopImages } from './image/shop.ts';

export const images = [levadaImage, clientImage, rabbitImage, ...shopImages];

/** The version that the chart installs unless told otherwise. */
async function chartVersion(): Promise<string> {
  const chart = parse(await readFile(resolve(import.meta.dirname, '../charts/levada/Chart.yaml'), 'utf8'));
  return (chart as { appVersion: string }).appVersion;
}

const shortName = ({ name }: ImageSource) => name.replace(/^levada\/levada$/, 'levada');

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({ options: { version: { type: 'string' } }, allowPositionals: true });
  const version = values.version ?? (await chartVersion());
  for (const name of positionals.length > 0 ? positionals : ['levada']) {
    const source = images.find((one) => shortName(one) === name);
    if (!source) throw new Error(`found ${name}; allowed: ${images.map(shortName).join(', ')}`);
    const { tag, digest, path, bytes } = await buildImage(source, version);
    console.log(`${tag}  ${digest}  ${(bytes / 1e6).toFixed(0)} MB\n${path}`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  });
}
