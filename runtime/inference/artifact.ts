import { createHash } from 'node:crypto';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { maxModelBytes as maxBytes } from '../../api/contract/model-server.ts';
import { type ErrorCode, LevadaError, messageOf } from '../../api/errors.ts';

const chunkBytes = 4 * 2 ** 20;
const pickleNames = /\.(pkl|pickle|joblib|sav)$/i;

export interface Artifact {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Hex. Of exactly these bytes: what is hashed is what is loaded. */
  readonly sha256: string;
}

/** The ONNX file that `path` means: itself, or the one `model.onnx` in that folder. */
export async function artifactPath(path: string): Promise<string> {
  try {
    return (await stat(path)).isDirectory() ? join(path, 'model.onnx') : path;
  } catch (error) {
    throw unreadable(path, error);
  }
}

/**
 * Reads and hashes a model file.
 *
 * @throws LevadaError ArtifactNotFound, ArtifactTooLarge, PickleRefused
 */
export async function readArtifact(where: string): Promise<Artifact> {
  const path = await artifactPath(where);
  const file = await open(path, 'r').catch((error: unknown) => Promise.reject(unreadable(path, error)));
  try {
    const info = await file.stat();
    if (!info.isFile()) throw new LevadaError('ArtifactNotFound', { path, detail: 'it is not a file' });
    if (info.size > maxBytes) throw new LevadaError('ArtifactTooLarge', { path, size: info.size, limit: maxBytes });
    const { bytes, sha256 } = await readAll(file, info.size, path);
    if (pickleNames.test(path) || isPickle(bytes)) throw new LevadaError('PickleRefused', { path });
    return { path, bytes, sha256 };
  } finally {
    await file.close();
  }
}

/** In chunks, so that the event loop goes on while a large file is read and hashed. */
async function readAll(file: FileHandle, size: number, path: string): Promise<{ bytes: Uint8Array; sha256: string }> {
  const bytes = Buffer.allocUnsafeSlow(size);
  const hash = createHash('sha256');
  let length = 0;
  while (length < size) {
    const { bytesRead } = await file
      .read(bytes, length, Math.min(chunkBytes, size - length), length)
      .catch((error: unknown) => Promise.reject(unreadable(path, error)));
    if (bytesRead === 0) break; // it has shrunk meanwhile; the digest is of what was read
    hash.update(bytes.subarray(length, length + bytesRead));
    length += bytesRead;
  }
  return { bytes: bytes.subarray(0, length), sha256: hash.digest('hex') };
}

function unreadable(path: string, error: unknown): LevadaError {
  const code: ErrorCode = 'ArtifactNotFound';
  return new LevadaError(code, { path, detail: messageOf(error).split(',')[0] ?? '' }, { cause: error });
}

/** A pickle of protocol 2 or later begins with 0x80, the protocol, and then a frame or an opcode; no ONNX file does. */
const isPickle = (bytes: Uint8Array): boolean => bytes[0] === 0x80 && (bytes[1] ?? 0) >= 2 && (bytes[1] ?? 9) <= 5;
