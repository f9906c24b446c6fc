import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { errorCodeOf, errors, messageOf } from '../../../api/errors.ts';
import type { ModelService } from '../service.ts';
import { rows as rowsOf } from '../tensors.ts';
import {
  decodeRequests,
  encodeGoodbye,
  encodeHello,
  FrameError,
  FrameReader,
  frameTypes,
  protocolVersion,
  resultFrames,
  type WireRequest,
  type WireResult,
} from './frames.ts';

const errorStatus = (code: string): number => errors[errorCodeOf({ code }) ?? 'InternalError'].http ?? 500;

/** Bytes of answers that wait for a peer to read them. */
const maxUnsentBytes = 256 * 2 ** 20;

/** Takes requests from pods of the stable version. Only while the model is loaded: else connections are closed at once. */
export class InternalPort {
  readonly #service: ModelService;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(service: ModelService) {
    this.#service = service;
    this.#server = createServer({ noDelay: true, keepAlive: true }, (socket) => this.#accept(socket));
  }

  /** Resolves with the port. @throws the error of `listen` */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject);
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  /** Says goodbye, and resolves when every peer has got its answers and has gone. */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.write(encodeGoodbye());
    });
  }

  /** Cuts all connections. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(socket: Socket): void {
    socket.on('error', () => {}); // 'close' follows
    const { signature } = this.#service;
    if (!signature) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    const { inputs, outputs } = signature;
    socket.write(encodeHello({ protocol: protocolVersion, version: this.#service.config.version, inputs, outputs }));
    const answers = new Answers(socket);
    const reader = new FrameReader((type, payload) => {
      if (type !== frameTypes.requests) throw new FrameError(`a frame of type ${type}`);
      for (const request of decodeRequests(payload)) this.#serve(request, answers);
    });
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        socket.destroy();
      }
    });
  }

  #serve({ id, timeoutMs, rows, inputs }: WireRequest, answers: Answers): void {
    const service = this.#service;
    const start = performance.now();
    const end = (result: WireResult['result'], at: number) => {
      const servedMs = at - start;
      answers.add({ id, servedMs, result });
      if ('outputs' in result) service.metrics.request('internal', 200, servedMs / 1000);
      else service.metrics.request('internal', errorStatus(result.code), servedMs / 1000, result.code);
    };
    const fail = (error: unknown, at: number) => {
      end({ code: errorCodeOf(error) ?? 'InternalError', message: messageOf(error) }, at);
    };
    try {
      service.score(inputs, rows, start + timeoutMs, (error, outputs, row, at, isWhole) => {
        if (error) fail(error, at);
        else end({ outputs: isWhole ? outputs : outputs.map((tensor) => rowsOf(tensor, row, row + rows)) }, at);
      });
    } catch (error) {
      fail(error, performance.now());
    }
  }
}

/** Answers of one connection: those that one run gives go as one frame, or few. */
class Answers {
  readonly #socket: Socket;
  #waiting: WireResult[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  add(result: WireResult): void {
    if (this.#waiting.push(result) > 1) return;
    queueMicrotask(() => {
      const results = this.#waiting;
      this.#waiting = [];
      if (this.#socket.destroyed) return;
      if (this.#socket.writableLength > maxUnsentBytes) this.#socket.destroy();
      else for (const frame of resultFrames(results)) this.#socket.write(frame);
    });
  }
}
