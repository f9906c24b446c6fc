/**
 * What operator and runtime say to each other. The schema of the configuration is beside this file, because only who writes
 * a configuration checks it: loading zod would be a sixth of a model server's start.
 */
import type { RoutingStatus } from './routing-table.ts';

export type { ModelServerConfig } from './model-server.schema.ts';

/** State of a model server, as GET /status on the admin port and the messages to `levada up` say it. */
export interface ModelServerStatus {
  state: 'Loading' | 'Loaded' | 'Failed';
  /** Hex. Known as soon as the file was read. */
  sha256?: string;
  failure?: { code: string; message: string };
}

/** What GET /status says beside it. */
export interface ModelServerReport extends ModelServerStatus {
  draining: boolean;
  /** Absent: it takes no routing tables. */
  routing?: RoutingStatus;
}

/** Messages from `levada up` to a model server, over the process's IPC channel. */
export type ToModelServer =
  /** Comes with a bound socket: accept connections on it. */
  | { type: 'listen'; socket: string }
  /** Stop accepting on that socket; connections that are open end politely. */
  | { type: 'release'; socket: string }
  /** Finish what is in hand, then exit. */
  | { type: 'drain' };

/** Messages from a model server to `levada up`. */
export type FromModelServer =
  | { type: 'status'; status: ModelServerStatus }
  | { type: 'admin'; port: number }
  /** Only where its configuration has an internal port. */
  | { type: 'internal'; port: number }
  | { type: 'listening'; socket: string }
  | { type: 'released'; socket: string };

/** Bytes of a model: the ONNX format ends at 2 GiB, and so does a Node buffer that the binding accepts. */
export const maxModelBytes = 2 ** 31 - 1;

/**
 * Milliseconds that a pod which was ready goes on taking requests after SIGTERM: callers learn only after a moment that it
 * has been taken out of its Service. Until the end each answer closes its connection.
 */
export const lingerMs = 5_000;

/** Milliseconds that a process takes at most after that to finish what is in hand. */
export const drainTimeoutMs = 30_000;
