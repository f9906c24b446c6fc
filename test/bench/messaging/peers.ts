import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { ensurePython } from '../../../cli/python.ts';

const run = promisify(execFile);
const cache = join(process.env['LEVADA_CACHE_DIR'] ?? join(homedir(), '.cache', 'levada'), 'messaging');

/** What others' consumers are installed as; pinned, outside the clone. Python's: hack/python/requirements-messaging.txt. */
export const versions = { 'rabbitmq-client': '5.0.8', 'perf-test': '2.22.1' } as const;

/** @returns the folder that packages are found from */
export const rabbitmqClient = (): Promise<string> =>
  once(`rabbitmq-client-${versions['rabbitmq-client']}`, async (folder) => {
    await writeFile(join(folder, 'package.json'), '{ "private": true }\n');
    const name = `rabbitmq-client@${versions['rabbitmq-client']}`;
    await run('npm', ['install', '--prefix', folder, '--ignore-scripts', '--no-audit', '--no-fund', name]);
  });

/** @returns the path of the Python that has pika and aio-pika */
export const python = (): Promise<string> => ensurePython('messaging', { onProgress: (line) => console.error(line) });

/** @returns the class path of RabbitMQ PerfTest; needs Java and Maven */
export async function perfTest(): Promise<string> {
  await run('java', ['-version']);
  const folder = await once(`perf-test-${versions['perf-test']}`, async (making) => {
    const pom = join(making, 'pom.xml');
    await writeFile(pom, project);
    const copy = ['dependency:copy-dependencies', `-DoutputDirectory=${making}`];
    await run('mvn', ['--batch-mode', '--quiet', '--file', pom, ...copy], { maxBuffer: 16 * 1024 * 1024 });
  });
  return join(folder, '*');
}

const project = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>levada</groupId>
  <artifactId>messaging-bench</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>com.rabbitmq</groupId>
      <artifactId>perf-test</artifactId>
      <version>${versions['perf-test']}</version>
    </dependency>
  </dependencies>
</project>
`;

/** A folder of the cache, complete or not there. */
async function once(name: string, make: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  console.error(`installing ${name} (once)`);
  await mkdir(dirname(folder), { recursive: true });
  const making = await mkdtemp(`${folder}.`);
  try {
    await make(making);
    await rename(making, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error; // somebody else was quicker
    });
    return folder;
  } finally {
    await rm(making, { recursive: true, force: true });
  }
}
