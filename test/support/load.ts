/**
 * A load client, in a process of its own: keep-alive connections that each send one request after the other, or requests
 * that start at fixed times, whatever becomes of those before. Each answer is held against what it should be. Nothing is
 * tried again: what fails is counted.
 */
import { spawn } from 'node:child_process';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { type Latency, openLoop } from './open-loop.ts';
import { echoQuestions, irisQuestions, type Question } from './questions.ts';
import { until } from './wait.ts';

const self = fileURLToPath(import.meta.url);

/** How and what is asked. */
export type Asking = ({ readonly connections: number } | { readonly perSecond: number }) & {
  /** For models whose Y is their X. Absent: the rows of the iris example. */
  readonly row?: readonly number[];
};

export interface LoadResult {
  readonly ok: number;
  readonly wrong: number;
  readonly failed: number;
  /** Answers by version. */
  readonly versions: Record<string, number>;
  /** Of `ok`: those that only the version named in the answer gives. */
  readonly telling: number;
  /** Of requests that start at fixed times. */
  readonly latency?: Latency;
  /** A few of what was wrong or failed. */
  readonly samples: string[];
}

export interface Load {
  /** Requests that have ended so far. */
  readonly count: () => number;
  stop(): Promise<LoadResult>;
}

/** Of an open loop. Ten minutes, thirty seconds' worth of requests, ten seconds for each. */
const [longestSeconds, underWaySeconds, longestMs] = [600, 30, 10_000];

/**
 * Starts the client; resolves when its first requests have ended.
 *
 * @param how a number: so many connections
 * @param client the command that runs this file, if not here
 */
export async function startLoad(
  url: string,
  how: number | Asking,
  [program, ...args]: readonly [string, ...string[]] = [process.execPath, self],
): Promise<Load> {
  const asking: Asking = typeof how === 'number' ? { connections: how } : how;
  const child = spawn(program, [...args, url, JSON.stringify(asking)], { stdio: ['pipe', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const last = () => output.trimEnd().split('\n').at(-1) ?? '';
  const count = () => Number(/^\d+$/.exec(last())?.[0] ?? 0);
  const first = 'connections' in asking ? asking.connections : 16;
  await until('the first answers', () => count() >= first, { seen: () => output });
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
  readonly #asking: Asking;
  readonly #agent: http.Agent;
  readonly #question: (index: number) => Question;
  readonly #result = { ok: 0, wrong: 0, failed: 0, telling: 0, versions: {} as Record<string, number> };
  readonly #samples: string[] = [];
  #stopped = false;
  #next = 0;

  constructor(url: string, asking: Asking) {
    this.#url = url;
    this.#asking = asking;
    // All connections are used in turn, as by many callers, so that each hears when it is to be closed.
    const pool = 'connections' in asking ? { maxSockets: asking.connections } : { scheduling: 'fifo' as const };
    this.#agent = new http.Agent({ keepAlive: true, ...pool });
    this.#question = asking.row ? echoQuestions(asking.row) : irisQuestions();
  }

  get count(): number {
    return this.#result.ok + this.#result.wrong + this.#result.failed;
  }

  async run(): Promise<LoadResult> {
    const latency = 'connections' in this.#asking ? await this.#closed(this.#asking) : await this.#open(this.#asking);
    this.#agent.destroy();
    return { ...this.#result, ...(latency && { latency }), samples: this.#samples };
  }

  stop(): void {
    this.#stopped = true;
  }

  async #closed({ connections }: { readonly connections: number }): Promise<undefined> {
    const connection = async () => {
      while (!this.#stopped) await this.#ask();
    };
    await Promise.all(Array.from({ length: connections }, connection));
  }

  #open({ perSecond }: { readonly perSecond: number }): Promise<Latency> {
    return openLoop({
      perSecond,
      requests: perSecond * longestSeconds,
      underWay: perSecond * underWaySeconds,
      ask: () => this.#ask(),
      refuse: () => this.#note('failed', 'not sent: too many are under way'),
      isStopped: () => this.#stopped,
    });
  }

  async #ask(): Promise<void> {
    const question = this.#question(this.#next++);
    try {
      const { status, version, body } = await this.#post(question);
      if (status !== 200) this.#note('failed', `${status} ${body}`);
      else this.#judge(question, version, body);
    } catch (error) {
      this.#note('failed', String(error));
    }
  }

  #judge({ body, judge }: Question, version: string, answer: string): void {
    this.#result.versions[version] = (this.#result.versions[version] ?? 0) + 1;
    const judgement = judge(version, answer);
    if (judgement === 'wrong') {
      this.#note('wrong', `${version} ${JSON.stringify(body)} ${answer}`);
      return;
    }
    this.#result.ok++;
    if (judgement === 'telling') this.#result.telling++;
  }

  #note(kind: 'wrong' | 'failed', sample: string): void {
    this.#result[kind]++;
    if (this.#samples.length < 10) this.#samples.push(`${new Date().toISOString()} ${kind}: ${sample}`);
  }

  #post({ path, body: asked }: Question): Promise<{ status: number; version: string; body: string }> {
    const body = JSON.stringify(asked);
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const options = { agent: this.#agent, method: 'POST', headers, signal: AbortSignal.timeout(longestMs) };
    return new Promise((resolve, reject) => {
      const req = http.request(`${this.#url}${path}`, options, (res) => {
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
  const [, , url = '', asking = ''] = process.argv;
  const client = new Client(url, JSON.parse(asking) as Asking);
  // The count tells the parent that it runs; the end of stdin, also the parent's death, stops it. So does SIGTERM.
  const timer = setInterval(() => process.stdout.write(`${client.count}\n`), 50);
  process.stdin.resume().on('end', () => client.stop());
  process.on('SIGTERM', () => client.stop());
  const result = await client.run();
  clearInterval(timer);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  process.stdin.destroy();
}
