import { type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { LevadaError } from '../../api/errors.ts';
import { errorAnswer } from './answer.ts';
import type { Outcome } from './app.ts';

type Exchange = readonly [IncomingMessage, ServerResponse];

/** Milliseconds that a client has to take what it is told when its connection is ended. */
const lingerMs = 1_000;

/** Answers what Node's parser refuses, with a registered code, and never instead of an answer that is still due. */
export class ParserErrors {
  /** Connections, and what is not answered on each. */
  readonly #open = new Map<Socket, Set<Exchange>>();
  readonly #refused = new WeakSet<Socket>();
  readonly #observe: (outcome: Outcome) => void;

  constructor(server: Server, observe: (outcome: Outcome) => void) {
    this.#observe = observe;
    server.on('connection', (socket: Socket) => {
      this.#open.set(socket, new Set());
      socket.once('close', () => this.#open.delete(socket));
    });
    server.on('request', (req, res) => {
      const exchanges = this.#open.get(req.socket);
      if (!exchanges) return;
      const exchange: Exchange = [req, res];
      exchanges.add(exchange);
      res.once('close', () => exchanges.delete(exchange));
    });
    server.on('clientError', (error: ParserError, socket: Socket) => this.#refuse(error, socket));
  }

  /** Ends connections on which nothing has ever come; Node counts them as busy, because their first request is due. */
  closeSilent(): void {
    for (const [socket, exchanges] of this.#open) {
      if (exchanges.size === 0 && socket.bytesRead === 0) socket.destroy();
    }
  }

  #refuse(error: ParserError, socket: Socket): void {
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    // Whatever comes after the mistake is a mistake again.
    if (this.#refused.has(socket)) return;
    this.#refused.add(socket);
    const open = [...(this.#open.get(socket) ?? [])];
    if (open.some(([req, res]) => !req.complete && res.headersSent)) {
      socket.destroySoon(); // this request has its answer, before its end
      return;
    }
    const due = open.filter(([req]) => req.complete);
    let left = due.length;
    if (left === 0) this.#tell(error, socket);
    for (const [, res] of due) {
      res.once('close', () => {
        left--;
        if (left === 0) this.#tell(error, socket);
      });
    }
  }

  #tell(error: ParserError, socket: Socket): void {
    if (!socket.writable) return;
    const { status, body, code = '' } = errorAnswer(codeOf(error));
    const head = [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
      `x-levada-error: ${code}`,
      'connection: close',
    ];
    // A client that neither reads nor closes must not keep the socket.
    const timer = setTimeout(() => socket.destroy(), lingerMs).unref();
    socket.once('close', () => clearTimeout(timer));
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
    this.#observe({ status, code, ms: 0 });
  }
}

interface ParserError extends Error {
  readonly code?: string;
  /** What the parser says. */
  readonly reason?: string;
}

function codeOf({ code, reason }: ParserError): LevadaError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return new LevadaError('RequestTimeout');
  if (code === 'HPE_HEADER_OVERFLOW') return new LevadaError('HeadersTooLarge');
  return new LevadaError('RequestMalformed', { detail: reason ?? 'it is not HTTP/1.1' });
}
