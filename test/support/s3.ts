import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { ensurePython } from '../../cli/python.ts';
import { orSkip, type SkippableContext } from './models.ts';
import { until } from './wait.ts';

export interface S3Settings {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  readonly sessionToken: string | null;
  /** Files, by `/BUCKET/KEY`. */
  readonly objects: Readonly<Record<string, string>>;
}

export interface S3Server extends AsyncDisposable {
  readonly endpoint: string;
  readonly asked: ReadonlyArray<{
    readonly path: string;
    readonly error: string | null;
    readonly range: string | null;
  }>;
}

/** Python with botocore. */
export const s3Python = (context: SkippableContext): Promise<string> =>
  orSkip(context, () => ensurePython('s3', { onProgress: () => {} }));

/** Starts s3_server.py. */
export async function startS3(python: string, settings: S3Settings): Promise<S3Server> {
  const script = fileURLToPath(new URL('./s3_server.py', import.meta.url));
  const child = spawn(python, ['-B', script, JSON.stringify(settings)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk;
  });
  await until('it listens', () => output.includes('\n'));
  const lines = () => output.split('\n').slice(0, -1);
  return {
    endpoint: `http://127.0.0.1:${lines()[0]}`,
    get asked() {
      return lines()
        .slice(1)
        .map((line) => JSON.parse(line));
    },
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
