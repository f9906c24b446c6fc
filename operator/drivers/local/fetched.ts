import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ModelServerConfig } from '../../../api/contract/model-server.ts';
import { namespacedName } from '../../../api/contract/names.ts';
import { LevadaError } from '../../../api/errors.ts';
import { type FetchLimits, fetchModel } from '../../../runtime/fetch/download.ts';
import { isRight } from '../../../runtime/fetch/right.ts';

export interface FetchedModelsOptions {
  readonly folder: string;
  /** Decoded values of a Secret, by `namespace/name`. */
  readonly secret: (name: string) => Readonly<Record<string, string>> | undefined;
  readonly secretNames: () => readonly string[];
  readonly limits?: Partial<FetchLimits>;
}

type Fetchable = Pick<ModelServerConfig, 'source' | 'sha256' | 'resolvedSha256'>;

/** What a URI was when it was fetched last. */
interface Known {
  readonly etag: string;
  readonly sha256: string;
}

/**
 * Models that were fetched, by digest: `FOLDER/DIGEST/model.onnx`. What is there with the digest that is wanted is not
 * asked for again; where none is known yet the server is asked whether it is still the same.
 */
export class FetchedModels {
  readonly #options: FetchedModelsOptions;

  constructor(options: FetchedModelsOptions) {
    this.#options = { ...options, folder: resolve(options.folder) };
  }

  /**
   * The path of the model of a unit.
   *
   * @throws LevadaError as fetchModel, SecretNotFound
   */
  async get(namespace: string, config: Fetchable, signal: AbortSignal, note: (text: string) => void): Promise<string> {
    const { source, sha256, resolvedSha256 } = config;
    if (!source) throw new LevadaError('InternalError', { detail: 'the unit has no source' });
    const digests = { sha256, resolvedSha256 };
    const digest = resolvedSha256 ?? sha256;
    if (digest !== undefined && (await isRight(this.#pathOf(digest), digests))) return this.#pathOf(digest);
    const secret = this.#secretOf(namespace, source.secret);
    const known = digest === undefined ? await this.#known(source.uri) : undefined;
    const folder = join(this.#options.folder, `incoming-${randomUUID()}`);
    const { limits } = this.#options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    try {
      const file = join(folder, 'model.onnx');
      const { uri } = source;
      const asked = { uri, secret, file, ...digests, unless: known?.etag, signal, note, ...(limits && { limits }) };
      const { sha256: found, etag, bytes } = await fetchModel(asked);
      if (found === undefined) return this.#pathOf(known?.sha256 ?? '');
      note(`fetched ${uri}: ${bytes} bytes, sha256 ${found}`);
      await mkdir(join(this.#options.folder, found), { recursive: true, mode: 0o700 });
      await rename(file, this.#pathOf(found));
      if (etag !== undefined) await this.#remember(uri, { etag, sha256: found });
      return this.#pathOf(found);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  #pathOf(digest: string): string {
    return join(this.#options.folder, digest, 'model.onnx');
  }

  #secretOf(namespace: string, name: string | undefined) {
    if (name === undefined) return undefined;
    const full = namespacedName({ namespace, name });
    const values = this.#options.secret(full);
    if (values) return { name, values };
    const allowed = this.#options.secretNames().join(', ') || 'there is none';
    throw new LevadaError('SecretNotFound', { found: full, allowed });
  }

  #noteOf(uri: string): string {
    return join(this.#options.folder, `${createHash('sha256').update(uri).digest('hex').slice(0, 32)}.json`);
  }

  /** Only what is still there as a whole. */
  async #known(uri: string): Promise<Known | undefined> {
    try {
      const { etag, sha256 } = JSON.parse(await readFile(this.#noteOf(uri), 'utf8')) as Known;
      const isThere = /^[0-9a-f]{64}$/.test(sha256) && (await isRight(this.#pathOf(sha256), { sha256 }));
      return isThere ? { etag, sha256 } : undefined;
    } catch {
      return undefined; // all of it is fetched
    }
  }

  async #remember(uri: string, known: Known): Promise<void> {
    const file = this.#noteOf(uri);
    const draft = `${file}.${randomUUID()}`;
    await writeFile(draft, JSON.stringify(known), { mode: 0o600 });
    await rename(draft, file);
  }
}
