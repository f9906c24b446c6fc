import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { messageOf } from '../../api/errors.ts';
import { FetchFailure } from './answer.ts';
import type { Rest } from './request.ts';

/** What there is of a file so far: beside where it belongs, where it comes to only as a whole. */
export class Part {
  readonly #uri: string;
  readonly #path: string;
  readonly #file: FileHandle;
  #hash: Hash = createHash('sha256');
  #length = 0;
  #validator: string | undefined;
  /** Whether it is put together of what several answers held. */
  isJoined = false;

  private constructor(uri: string, path: string, file: FileHandle) {
    this.#uri = uri;
    this.#path = path;
    this.#file = file;
  }

  static async create(uri: string, path: string): Promise<Part> {
    const file = await open(`${path}.part`, 'w').catch((error: unknown) => Promise.reject(unwritable(uri, error)));
    return new Part(uri, path, file);
  }

  get length(): number {
    return this.#length;
  }

  /** How the rest of it is asked for; `undefined`: only all of it can be. */
  get rest(): Rest | undefined {
    const isSome = this.#length > 0 && this.#validator !== undefined;
    return isSome ? { from: this.#length, validator: this.#validator as string } : undefined;
  }

  /** An answer begins: with what comes after what is there, or with the first byte. */
  begin(from: number, validator: string | undefined): void {
    if (from === 0) this.reset();
    else this.isJoined = true;
    this.#validator = validator;
  }

  reset(): void {
    this.#hash = createHash('sha256');
    this.#length = 0;
    this.#validator = undefined;
    this.isJoined = false;
  }

  /** @throws FetchFailure where there is no room */
  async add(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes);
    let written = 0;
    while (written < bytes.length) {
      const { bytesWritten } = await this.#file
        .write(bytes, written, bytes.length - written, this.#length + written)
        .catch((error: unknown) => Promise.reject(unwritable(this.#uri, error)));
      written += bytesWritten;
    }
    this.#length += bytes.length;
  }

  /** Hex, of all that is there. */
  get sha256(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Puts it where it belongs: a reader sees all of it, or what was there before. */
  async finish(): Promise<void> {
    try {
      await this.#file.truncate(this.#length); // an answer that was given up may have been longer
      await this.#file.sync();
      await this.#file.close();
      await rename(`${this.#path}.part`, this.#path);
    } catch (error) {
      throw unwritable(this.#uri, error);
    }
  }

  async drop(): Promise<void> {
    await this.#file.close().catch(() => {});
    await rm(`${this.#path}.part`, { force: true }).catch(() => {});
  }
}

const unwritable = (uri: string, error: unknown): FetchFailure =>
  new FetchFailure('ArtifactUnavailable', {
    path: uri,
    detail: `it cannot be written: ${messageOf(error).split(',')[0]}`,
  });
