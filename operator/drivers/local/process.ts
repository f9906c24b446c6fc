import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import {
  drainTimeoutMs,
  type FromModelServer,
  type ModelServerStatus,
  type ToModelServer,
} from '../../../api/contract/model-server.ts';
import { eachLine } from './lines.ts';
import type { BoundSocket } from './sockets.ts';

const main = fileURLToPath(new URL('../../../runtime/main.ts', import.meta.url));
/** After the process has had its time to drain. */
const killAfterMs = drainTimeoutMs + 5_000;

export interface ProcessEvents {
  status(status: ModelServerStatus): void;
  /** Metrics and health of this process. */
  admin(port: number): void;
  /** Where it takes requests from the stable version's processes. */
  internal(port: number): void;
  listening(socket: string): void;
  line(line: string): void;
  /** The process is gone; `detail` says how. */
  exit(detail: string): void;
}

/** One process of the runtime image's entry point, with the channel that it is told things by. */
export class RuntimeProcess {
  readonly #child: ChildProcess;
  readonly #events: ProcessEvents;
  readonly exited: Promise<void>;

  /** @param loadAfterMs it listens at once, and loads the model this much later */
  constructor(configFile: string, loadAfterMs: number, env: NodeJS.ProcessEnv, events: ProcessEvents) {
    this.#events = events;
    const args = [main, '--config', configFile, '--load-after-ms', String(loadAfterMs)];
    this.#child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.exited = new Promise((resolve) => {
      let ended = false;
      const end = (detail: string) => {
        if (ended) return;
        ended = true;
        resolve();
        events.exit(detail);
      };
      this.#child.on('error', (error) => end(`it could not be started: ${error.message}`));
      // `close` comes after the last line of output.
      this.#child.on('close', (code, signal) => end(signal ?? `exit code ${code}`));
    });
    this.#child.on('message', (message: FromModelServer) => this.#receive(message));
    for (const stream of [this.#child.stdout, this.#child.stderr]) if (stream) eachLine(stream, events.line);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  listen(name: string, socket: BoundSocket): void {
    this.#send({ type: 'listen', socket: name }, socket.handle);
  }

  release(name: string): void {
    this.#send({ type: 'release', socket: name });
  }

  /** Asks it to finish and end; ends it when it takes too long. Resolves when it is gone. */
  async drain(): Promise<void> {
    this.#send({ type: 'drain' });
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), killAfterMs);
    await this.exited;
    clearTimeout(timer);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #send(message: ToModelServer, handle?: object): void {
    if (!this.#child.connected) return; // its exit is reported by an event of its own
    // The typings know sockets and servers; node:cluster sends bare handles the same way.
    this.#child.send(message, handle as never, () => {
      // An error means that the process is going away: `exit` follows.
    });
  }

  #receive(message: FromModelServer): void {
    if (message.type === 'status') this.#events.status(message.status);
    else if (message.type === 'listening') this.#events.listening(message.socket);
    else if (message.type === 'admin') this.#events.admin(message.port);
    else if (message.type === 'internal') this.#events.internal(message.port);
  }
}
