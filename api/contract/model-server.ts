import * as z from 'zod';

/**
 * What the operator hands to the runtime for one version of one model: the contents of `unit.json` (a ConfigMap on a
 * cluster, a file under `.levada/` on a laptop). Operator and runtime share this and nothing else.
 */
export const modelServerConfig = z.strictObject({
  kind: z.literal('model-server'),
  model: z.string(),
  version: z.string(),
  /** ONNX file, or a folder with one `model.onnx`. */
  path: z.string(),
  /** From `spec`: hex. A file with another digest is refused (DigestMismatch). */
  sha256: z.string().optional(),
  /** From `status`: hex. A file with another digest is refused (ArtifactChanged). */
  resolvedSha256: z.string().optional(),
  classNames: z.array(z.string()).optional(),
  /** Text file with one class name a line. */
  classNamesPath: z.string().optional(),
  batching: z.strictObject({ maxBatchSize: z.int().min(1), maxDelayMs: z.number().min(0) }),
  /** Address of the admin port and, unless the sockets are handed over, of the serving port. */
  listen: z.strictObject({ host: z.string(), serving: z.int().min(0).max(65535), admin: z.int().min(0).max(65535) }),
});
export type ModelServerConfig = z.output<typeof modelServerConfig>;

/** State of a model server, as GET /status on the admin port and the messages to `levada up` say it. */
export interface ModelServerStatus {
  state: 'Loading' | 'Loaded' | 'Failed';
  /** Hex. Known as soon as the file was read. */
  sha256?: string;
  failure?: { code: string; message: string };
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
  | { type: 'listening'; socket: string }
  | { type: 'released'; socket: string };

/** Milliseconds that a model server takes at most to finish what is in hand. */
export const drainTimeoutMs = 30_000;
