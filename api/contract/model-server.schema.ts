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
  /** What is fetched to `path` before. */
  source: z
    .strictObject({
      uri: z.string(),
      /** Name of the Secret with the credentials. */
      secret: z.string().optional(),
    })
    .optional(),
  /** From `spec`: hex. A file with another digest is refused (DigestMismatch). */
  sha256: z.string().optional(),
  /** From `status`: hex. A file with another digest is refused (ArtifactChanged). */
  resolvedSha256: z.string().optional(),
  classNames: z.array(z.string()).optional(),
  /** Text file with one class name a line. */
  classNamesPath: z.string().optional(),
  batching: z.strictObject({ maxBatchSize: z.int().min(1), maxDelayMs: z.number().min(0) }),
  /** Address of the admin port and, unless the sockets are handed over, of the serving port. */
  listen: z.strictObject({
    host: z.string(),
    serving: z.int().min(0).max(65535),
    admin: z.int().min(0).max(65535),
    /** Takes requests from the stable version's pods. Absent: this version gets none that way. */
    internal: z.int().min(0).max(65535).optional(),
  }),
  /** Absent: the process answers everything itself, and takes no routing tables. */
  routing: z
    .strictObject({
      /** `namespace/name` of the ModelDeployment. */
      resource: z.string(),
      /**
       * A folder: `keys.json` is a list of the public keys that may sign routing tables (SPKI form, base64), read again when
       * another one has signed; `table.json` the signed table to begin with. No file: none yet.
       */
      folder: z.string(),
    })
    .optional(),
});
export type ModelServerConfig = z.output<typeof modelServerConfig>;
