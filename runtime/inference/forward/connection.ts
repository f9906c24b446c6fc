import { connect, type Socket } from 'node:net';
import { noTime } from '../../../api/contract/routing-table.ts';
import { messageOf } from '../../../api/errors.ts';
import { UnderWay } from '../../under-way.ts';
import { type FailureReason, type Fit, fitOf } from '../routing/rules.ts';
import type { Tensor, TensorInfo } from '../tensors.ts';
import {
  decodeHello,
  decodeResults,
  FrameError,
  FrameReader,
  frameTypes,
  requestFrames,
  type WireRequest,
  type WireResult,
} from './frames.ts';

/** What another version made of a request: its outputs, in the order of the stable version's, or why there are none. */
export type Outcome =
  | { readonly outputs: readonly Tensor[]; readonly servedMs: number }
  | { readonly reason: FailureReason; readonly detail: string };

/** A request on its way to another version. */
export interface Forward {
  /** In the order of the stable version's inputs. */
  readonly inputs: readonly Tensor[];
  readonly rows: number;
  /** On the clock of `performance.now()`. */
  readonly deadline: number;
  /** Called exactly once. */
  done(outcome: Outcome): void;
}

export interface Peer {
  readonly version: string;
  readonly host: string;
  readonly port: number;
  /** The stable version's, which the peer has to fit. */
  readonly signature: { readonly inputs: readonly TensorInfo[]; readonly outputs: readonly TensorInfo[] };
}

export interface ConnectionEvents {
  /** Once, when nothing more can be sent here: it has ended, or the peer goes. */
  left(connection: Connection): void;
  /** What has become of a request, before it is told itself. */
  ended(outcome: Outcome): void;
  /** What never left, because the connection has ended: it may go elsewhere. */
  unsent(forwards: readonly Forward[], why: string): void;
}

/** How far a deadline may be overrun. */
const sweepMs = 10;
/** Bytes that the socket may hold back; a peer that does not read gets no more. */
const maxUnsentBytes = 16 * 2 ** 20;

const readBytes = 64 * 1024;

/** Codes of a process that could not take the request; all others are about the request and the model. */
const reasonOf: Readonly<Record<string, FailureReason>> = {
  DeadlineExceeded: 'late',
  QueueFull: 'overloaded',
  MemoryBudget: 'overloaded',
  ModelNotReady: 'unreachable',
};

const failureOf = ({ code, message }: { code: string; message: string }): Outcome => ({
  reason: reasonOf[code] ?? 'error',
  detail: `${code}: ${message}`,
});

/**
 * Runs at the end of the next turn of the event loop, after its poll phase, as the batcher: every request that the two have brought
 * is there by then. A frame, with its answer, costs as much as two requests. An idle process takes its next turn at once.
 */
export const afterTwoTurns = (run: () => void): void => void setImmediate(() => setImmediate(run));

/** One connection to an internal port. What two turns of the event loop bring goes as one message. */
export class Connection {
  readonly #socket: Socket;
  readonly #peer: Peer;
  readonly #events: ConnectionEvents;
  #fit: Fit | string | undefined;
  #turn: Forward[] = [];
  /** By the id in its frame: a connection is replaced long before they are 2³². */
  readonly #sent = new UnderWay<Forward>();
  #scheduled = false;
  /** When the first of the turn has come. */
  #waitsSince = 0;
  #sweep: NodeJS.Timeout | undefined;
  #leaving = false;
  #isDismissed = false;
  #why = 'the connection has ended';

  constructor(peer: Peer, events: ConnectionEvents) {
    this.#peer = peer;
    this.#events = events;
    const reader = new FrameReader((type, payload) => this.#receive(type, payload));
    const read = (bytes: number, buffer: Uint8Array) => {
      try {
        reader.push((buffer as Buffer).subarray(0, bytes));
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.destroy(error.message);
      }
      return true; // and on with the next
    };
    this.#socket = connect({
      ...{ host: peer.host, port: peer.port, noDelay: true, keepAlive: true },
      // One buffer for all: of a stream, each of its chunks would be 64 KiB of memory that is cut down to a few answers.
      onread: { buffer: Buffer.allocUnsafe(readBytes), callback: read },
    });
    this.#socket.unref();
    this.#socket.on('error', (error) => {
      this.#why = messageOf(error);
    });
    this.#socket.on('close', () => this.#ended());
  }

  /** Whether the peer has said that it goes: nobody will be there for a while. */
  get isDismissed(): boolean {
    return this.#isDismissed;
  }

  send(forward: Forward): void {
    this.#turn.push(forward);
    this.#sweep ??= setInterval(() => this.#lookSoon(), sweepMs).unref();
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#waitsSince = performance.now();
    afterTwoTurns(() => this.#endTurns());
  }

  #endTurns(): void {
    this.#scheduled = false;
    this.#giveBackAfterPause();
    this.#flush();
  }

  /** Of a pause of this process that has taken more of their time than it has left, the peer knows nothing: it is not to blame. */
  #giveBackAfterPause(): void {
    const now = performance.now();
    const waited = now - this.#waitsSince;
    if (this.#fit === undefined) return; // it is the peer that they wait for
    const paused = this.#takeBack(({ deadline }) => deadline - now < waited);
    if (paused.length > 0) this.#fail(paused, noTime, 'this process has paused');
  }

  /** Of what has not left. */
  #takeBack(which: (forward: Forward) => boolean): Forward[] {
    const taken = this.#turn.filter(which);
    if (taken.length > 0) this.#turn = this.#turn.filter((forward) => !which(forward));
    return taken;
  }

  /** Takes no more; ends when all that was sent is answered. */
  leave(): void {
    this.#stopTaking();
    this.#endIfDone();
  }

  destroy(why: string): void {
    this.#why = why;
    this.#socket.destroy();
  }

  #stopTaking(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#events.left(this);
  }

  #endIfDone(): void {
    if (!this.#leaving || this.#isBusy) return;
    this.#stopSweep();
    this.#socket.end();
  }

  get #isBusy(): boolean {
    return this.#turn.length > 0 || this.#sent.size > 0;
  }

  #stopSweep(): void {
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #flush(): void {
    const fit = this.#fit;
    // Not greeted yet: later. The peer has ended it: elsewhere, once it is closed.
    if (fit === undefined || this.#turn.length === 0 || !this.#socket.writable) return;
    const turn = this.#turn;
    this.#turn = [];
    if (typeof fit === 'string') this.#fail(turn, 'signature', fit);
    else if (this.#socket.writableLength > maxUnsentBytes) this.#fail(turn, 'overloaded', 'it does not read');
    else this.#write(turn, fit);
  }

  #write(turn: readonly Forward[], fit: Fit): void {
    const now = performance.now();
    const requests = turn.map((forward): WireRequest => {
      const id = this.#sent.add(forward);
      const inputs = fit.inputs.map((index) => forward.inputs[index] as Tensor);
      return { id, timeoutMs: forward.deadline - now, rows: forward.rows, inputs };
    });
    for (const frame of requestFrames(requests)) this.#socket.write(frame);
  }

  /** @throws FrameError */
  #receive(type: number, payload: Buffer): void {
    if (type === frameTypes.results) {
      for (const result of decodeResults(payload)) this.#settle(result);
      this.#endIfDone();
    } else if (type === frameTypes.hello && this.#fit === undefined) {
      const hello = decodeHello(payload);
      const { version, signature } = this.#peer;
      this.#fit = hello.version === version ? fitOf(signature, hello) : `it is version ${hello.version}`;
      this.#flush();
    } else if (type === frameTypes.goodbye) {
      this.#isDismissed = true;
      this.leave();
    } else throw new FrameError(`a frame of type ${type}`);
  }

  #settle({ id, servedMs, result }: WireResult): void {
    const forward = this.#sent.take(id);
    if (!forward) return; // it was late, and the stable version has answered
    this.#end(forward, 'outputs' in result ? this.#ordered(result.outputs, servedMs) : failureOf(result));
  }

  #ordered(given: readonly Tensor[], servedMs: number): Outcome {
    const outputs = (this.#fit as Fit).outputs.map((index) => given[index]);
    if (outputs.every((tensor) => tensor !== undefined)) return { outputs, servedMs };
    return { reason: 'signature', detail: `it gave ${given.length} outputs` };
  }

  #end(forward: Forward, outcome: Outcome): void {
    this.#events.ended(outcome);
    forward.done(outcome);
  }

  /** First what has come meanwhile: a pause of this process must not make an answer late that is there. */
  #lookSoon(): void {
    // Not sooner, with the last answer: under load that is a timer for each frame.
    if (this.#isBusy) setImmediate(() => this.#expire());
    else this.#stopSweep();
  }

  #expire(): void {
    const now = performance.now();
    const late: Forward[] = [];
    for (const [id, forward] of this.#sent) {
      if (forward.deadline > now) continue;
      this.#sent.take(id);
      late.push(forward);
    }
    late.push(...this.#takeBack(({ deadline }) => deadline <= now));
    this.#fail(late, 'late', 'no answer in time');
  }

  #ended(): void {
    this.#stopTaking();
    const unsent = this.#turn;
    this.#turn = [];
    const lost = [...this.#sent].map(([id, forward]) => {
      this.#sent.take(id);
      return forward;
    });
    this.#fail(lost, 'unreachable', this.#why);
    if (unsent.length > 0) this.#events.unsent(unsent, this.#why);
  }

  #fail(forwards: readonly Forward[], reason: FailureReason, detail: string): void {
    for (const forward of forwards) this.#end(forward, { reason, detail });
    this.#endIfDone();
  }
}
