/**
 * A load client, in a process of its own: keep-alive connections that each send one request after the other, rows of
 * the iris example, in turn to /predict and to /v2/models/iris/infer. Each answer is held against what scikit-learn
 * gave for the version that the answer names. Nothing is tried again: what fails is counted.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { until } from './wait.ts';

const self = fileURLToPath(import.meta.url);
const expectedFile = fileURLToPath(new URL('../../examples/iris/expected/rows.json', import.meta.url));

export interface LoadResult {
  readonly ok: number;
  readonly wrong: number;
  readonly failed: number;
  /** Answers by version. */
  readonly versions: Record<string, number>;
  /** Of `ok`: those that only the version named in the answer gives. */
  readonly telling: number;
  /** A few of what was wrong or failed. */
  readonly samples: string[];
}

interface Score {
  readonly prediction: number;
  readonly probabilities: number[];
}
interface Expected {
  readonly classNames: string[];
  readonly tolerance: number;
  readonly rows: ReadonlyArray<{ features: number[]; v1: Score; v2: Score }>;
}
type Row = Expected['rows'][number];

export interface Load {
  /** Requests that have ended so far. */
  readonly count: () => number;
  stop(): Promise<LoadResult>;
}

/** Starts the client; resolves when its first requests have ended. @param client the command that runs this file, if not here */
export async function startLoad(
  url: string,
  connections: number,
  [program, ...args]: readonly [string, ...string[]] = [process.execPath, self],
): Promise<Load> {
  const child = spawn(program, [...args, url, String(connections)], { stdio: ['pipe', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const last = () => output.trimEnd().split('\n').at(-1) ?? '';
  const count = () => Number(/^\d+$/.exec(last())?.[0] ?? 0);
  await until('the first answers', () => count() >= connections, { seen: () => output });
  return {
    count,
    async stop() {
      child.stdin.end();
      await ended;
      return JSON.parse(last()) as LoadResult;
    },
  };
}

class Client {
  readonly #url: string;
  readonly #agent: http.Agent;
  readonly #expected: Expected;
  readonly #result = { ok: 0, wrong: 0, failed: 0, telling: 0, versions: {} as Record<string, number> };
  readonly #samples: string[] = [];
  #stopped = false;
  #next = 0;

  constructor(url: string, connections: number) {
    this.#url = url;
    this.#agent = new http.Agent({ keepAlive: true, maxSockets: connections });
    this.#expected = JSON.parse(readFileSync(expectedFile, 'utf8')) as Expected;
  }

  get count(): number {
    return this.#result.ok + this.#result.wrong + this.#result.failed;
  }

  async run(connections: number): Promise<LoadResult> {
    await Promise.all(Array.from({ length: connections }, () => this.#connection()));
    this.#agent.destroy();
    return { ...this.#result, samples: this.#samples };
  }

  stop(): void {
    this.#stopped = true;
  }

  async #connection(): Promise<void> {
    while (!this.#stopped) {
      const index = this.#next++;
      const row = this.#expected.rows[index % this.#expected.rows.length] as Row;
      // Rows are of an even number: their turn must not decide which path they are sent to.
      const isOip = Math.floor(index / this.#expected.rows.length + index) % 2 === 1;
      try {
        const { status, version, body } = await this.#post(isOip, row);
        if (status !== 200) this.#note('failed', `${status} ${body}`);
        else this.#judge(isOip, row, version, body);
      } catch (error) {
        this.#note('failed', String(error));
      }
    }
  }

  #judge(isOip: boolean, row: Row, version: string, body: string): void {
    this.#result.versions[version] = (this.#result.versions[version] ?? 0) + 1;
    const other = version === 'v1' ? 'v2' : 'v1';
    if ((version !== 'v1' && version !== 'v2') || !this.#isRight(isOip, row[version], body)) {
      this.#note('wrong', `${version} ${JSON.stringify(row)} ${body}`);
      return;
    }
    this.#result.ok++;
    if (!this.#isRight(isOip, row[other], body)) this.#result.telling++;
  }

  #isRight(isOip: boolean, score: Score, body: string): boolean {
    const { classNames, tolerance } = this.#expected;
    if (!isOip) {
      const answer = JSON.parse(body) as { prediction: number; class_name: string };
      return answer.prediction === score.prediction && answer.class_name === classNames[score.prediction];
    }
    const { outputs } = JSON.parse(body) as { outputs: Array<{ name: string; data: number[] }> };
    const data = (name: string) => outputs.find((output) => output.name === name)?.data ?? [];
    const probabilities = data('probabilities');
    return (
      data('label')[0] === score.prediction &&
      score.probabilities.every((value, i) => Math.abs(value - (probabilities[i] ?? Number.NaN)) <= tolerance)
    );
  }

  #note(kind: 'wrong' | 'failed', sample: string): void {
    this.#result[kind]++;
    if (this.#samples.length < 10) this.#samples.push(`${kind}: ${sample}`);
  }

  #post(isOip: boolean, { features }: Row): Promise<{ status: number; version: string; body: string }> {
    const body = JSON.stringify(
      isOip ? { inputs: [{ name: 'X', shape: [1, features.length], datatype: 'FP32', data: features }] } : { features },
    );
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const path = isOip ? '/v2/models/iris/infer' : '/predict';
    return new Promise((resolve, reject) => {
      const req = http.request(`${this.#url}${path}`, { agent: this.#agent, method: 'POST', headers }, (res) => {
        let text = '';
        res.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        res.on('error', reject);
        res.on('end', () => {
          const version = String(res.headers['x-levada-version']);
          resolve({ status: res.statusCode ?? 0, version, body: text });
        });
      });
      req.on('error', reject);
      req.end(body);
    });
  }
}

if (process.argv[1] === self) {
  const [, , url = '', connections = '1'] = process.argv;
  const client = new Client(url, Number(connections));
  // The count tells the parent that it runs; the end of stdin, also the parent's death, stops it.
  const timer = setInterval(() => process.stdout.write(`${client.count}\n`), 50);
  process.stdin.resume().on('end', () => client.stop());
  const result = await client.run(Number(connections));
  clearInterval(timer);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.stdin.destroy();
}
