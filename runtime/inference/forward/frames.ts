/**
 * What stable pods and other versions' pods say to each other on the internal port: frames of a length (u32) and a type (u8), all
 * numbers little-endian. Tensors are their number (u32), then each {datatype u8, rank u8, dimensions u32…, bytes u32, data}, the data as
 * the Open Inference Protocol's binary form has it.
 *
 *     →  Requests   {id u32, time left f32 ms, rows u32, tensors}…     one frame for what two turns of the event loop have brought,
 *                                                                    several where that is above 16 MiB
 *     ←  Hello      JSON {protocol, version, inputs, outputs}          once, first
 *     ←  Results    {id u32, time taken f32 ms, 0, tensors | 1, JSON {code, message}}…     one for what one run gives, likewise
 *     ←  Goodbye    the pod goes: send nothing more here; what was sent is answered
 */
import { allocate, type Datatype, datatypes, elements, type Tensor, type TensorInfo } from '../tensors.ts';

/** Another number: the two do not understand each other, and the stable version answers. */
export const protocolVersion = 2;

export const frameTypes = { hello: 1, requests: 2, results: 3, goodbye: 4 } as const;

export interface Hello {
  readonly protocol: number;
  readonly version: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
}

export interface WireRequest {
  readonly id: number;
  /** Milliseconds. */
  readonly timeoutMs: number;
  readonly rows: number;
  readonly inputs: readonly Tensor[];
}

export interface WireResult {
  readonly id: number;
  /** Milliseconds in the pod that has served it, from the frame to the outputs. */
  readonly servedMs: number;
  readonly result: { readonly outputs: readonly Tensor[] } | { readonly code: string; readonly message: string };
}

/** The other side does not keep to the format: nothing that it says can be used. */
export class FrameError extends Error {}

/** On the wire a datatype is its place here; new ones go to the end. */
const codes: readonly Datatype[] = [
  ...(['BOOL', 'UINT8', 'UINT16', 'UINT32', 'UINT64', 'INT8', 'INT16', 'INT32', 'INT64'] as const),
  ...(['FP16', 'FP32', 'FP64', 'BYTES'] as const),
];
const codeOf = new Map(codes.map((datatype, code) => [datatype, code]));

/** A frame is not read when it is larger: the largest body makes tensors of some 130 MiB, and a turn's others come before it. */
const maxFrameBytes = 192 * 2 ** 20;
/** What is more than this goes as several frames. */
const fullFrameBytes = 16 * 2 ** 20;
const headBytes = 5;

/** Bytes that a tensor has in a frame. */
function tensorBytes({ shape, data }: Tensor): number {
  let size = 6 + 4 * shape.length;
  if (!Array.isArray(data)) return size + data.byteLength;
  for (const text of data) size += 4 + Buffer.byteLength(text);
  return size;
}

const listBytes = (tensors: readonly Tensor[]): number => tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 4);

/** Writes one frame of a size that is known before. */
class Writer {
  readonly frame: Buffer;
  #offset = headBytes;

  constructor(type: number, size: number) {
    this.frame = Buffer.allocUnsafe(headBytes + size);
    this.frame.writeUInt32LE(size + 1, 0);
    this.frame[4] = type;
  }

  u8(value: number): void {
    this.frame[this.#offset++] = value;
  }

  u32(value: number): void {
    this.#offset = this.frame.writeUInt32LE(value, this.#offset);
  }

  f32(value: number): void {
    this.#offset = this.frame.writeFloatLE(value, this.#offset);
  }

  bytes(bytes: Uint8Array): void {
    this.frame.set(bytes, this.#offset);
    this.#offset += bytes.length;
  }

  text(text: string, size = Buffer.byteLength(text)): void {
    this.u32(size);
    this.#offset += this.frame.write(text, this.#offset, size, 'utf8');
  }

  tensors(tensors: readonly Tensor[]): void {
    this.u32(tensors.length);
    for (const tensor of tensors) {
      const { datatype, shape, data } = tensor;
      this.u8(codeOf.get(datatype) as number);
      this.u8(shape.length);
      for (const dim of shape) this.u32(dim);
      if (Array.isArray(data)) {
        this.u32(tensorBytes(tensor) - 6 - 4 * shape.length);
        for (const text of data) this.text(text);
      } else {
        this.u32(data.byteLength);
        this.bytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      }
    }
  }
}

export function encodeHello(hello: Hello): Buffer {
  const json = Buffer.from(JSON.stringify(hello));
  const writer = new Writer(frameTypes.hello, json.length);
  writer.bytes(json);
  return writer.frame;
}

export const encodeGoodbye = (): Buffer => new Writer(frameTypes.goodbye, 0).frame;

export function encodeRequests(requests: readonly WireRequest[]): Buffer {
  let size = 0;
  for (const { inputs } of requests) size += 12 + listBytes(inputs);
  const writer = new Writer(frameTypes.requests, size);
  for (const { id, timeoutMs, rows, inputs } of requests) {
    writer.u32(id);
    writer.f32(timeoutMs);
    writer.u32(rows);
    writer.tensors(inputs);
  }
  return writer.frame;
}

export function encodeResults(results: readonly WireResult[]): Buffer {
  const errors = results.map(({ result }) => ('outputs' in result ? '' : JSON.stringify(result)));
  let size = 0;
  results.forEach(({ result }, i) => {
    size += 9 + ('outputs' in result ? listBytes(result.outputs) : 4 + Buffer.byteLength(errors[i] as string));
  });
  const writer = new Writer(frameTypes.results, size);
  results.forEach(({ id, servedMs, result }, i) => {
    writer.u32(id);
    writer.f32(servedMs);
    writer.u8('outputs' in result ? 0 : 1);
    if ('outputs' in result) writer.tensors(result.outputs);
    else writer.text(errors[i] as string);
  });
  return writer.frame;
}

/** Each part is within {@link fullFrameBytes}, or one item. */
function parts<Item>(items: readonly Item[], bytesOf: (item: Item) => number): (readonly Item[])[] {
  if (items.length <= 1) return items.length === 0 ? [] : [items];
  const all: Item[][] = [];
  let part: Item[] = [];
  let size = 0;
  for (const item of items) {
    const bytes = bytesOf(item);
    if (part.length > 0 && size + bytes > fullFrameBytes) {
      all.push(part);
      part = [];
      size = 0;
    }
    part.push(item);
    size += bytes;
  }
  all.push(part);
  return all;
}

/** What has come to be sent, in frames that the other side reads. */
export const requestFrames = (requests: readonly WireRequest[]): Buffer[] =>
  parts(requests, ({ inputs }) => listBytes(inputs)).map(encodeRequests);

/** What one run has given, likewise. */
export const resultFrames = (results: readonly WireResult[]): Buffer[] =>
  parts(results, ({ result }) => ('outputs' in result ? listBytes(result.outputs) : 0)).map(encodeResults);

/** Cuts what a socket brings into frames. */
export class FrameReader {
  readonly #onFrame: (type: number, payload: Buffer) => void;
  #chunks: Buffer[] = [];
  #size = 0;

  /** @param onFrame gets bytes that are not its own to keep */
  constructor(onFrame: (type: number, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  /**
   * @param chunk may be used for something else afterwards
   * @throws FrameError; whatever `onFrame` throws
   */
  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    this.#read();
    const last = this.#chunks.pop();
    if (last) this.#chunks.push(Buffer.from(last));
  }

  #read(): void {
    for (;;) {
      const length = this.#length();
      if (length === undefined || this.#size < 4 + length) return;
      const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks, this.#size);
      const rest = all.subarray(4 + length);
      this.#chunks = rest.length > 0 ? [rest] : [];
      this.#size = rest.length;
      this.#onFrame(all[4] as number, all.subarray(headBytes, 4 + length));
    }
  }

  /** Of the frame that is being read, type and payload; undefined while it is not known. */
  #length(): number | undefined {
    if (this.#size < 4) return undefined;
    if ((this.#chunks[0] as Buffer).length < 4) this.#chunks = [Buffer.concat(this.#chunks, this.#size)];
    const length = (this.#chunks[0] as Buffer).readUInt32LE(0);
    if (length < 1 || length > maxFrameBytes) throw new FrameError(`a frame of ${length} bytes`);
    return length;
  }
}

/** Reads one payload. Everything is checked: whoever reaches the port may write to it. */
class Reader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  u8(): number {
    return this.#bytes[this.#pass(1)] as number;
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#pass(4));
  }

  f32(): number {
    return this.#bytes.readFloatLE(this.#pass(4));
  }

  take(size: number): Buffer {
    const start = this.#pass(size);
    return this.#bytes.subarray(start, start + size);
  }

  /** @returns where the bytes are that are passed */
  #pass(size: number): number {
    const start = this.#offset;
    if (start + size > this.#bytes.length) throw new FrameError('a frame ends too early');
    this.#offset = start + size;
    return start;
  }

  tensors(): Tensor[] {
    const tensors: Tensor[] = [];
    for (let left = this.u32(); left > 0; left--) tensors.push(this.tensor());
    return tensors;
  }

  tensor(): Tensor {
    const datatype = codes[this.u8()];
    if (!datatype) throw new FrameError('an unknown datatype');
    const shape: number[] = [];
    for (let left = this.u8(); left > 0; left--) shape.push(this.u32());
    const count = elements(shape);
    const bytes = this.take(this.u32());
    if (datatype === 'BYTES') return { datatype, shape, data: texts(bytes, count) };
    const width = (datatypes[datatype].create as unknown as { BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT;
    if (count * width !== bytes.length) throw new FrameError(`${bytes.length} bytes for ${count} of ${datatype}`);
    const data = allocate(datatype, count) as Uint8Array;
    new Uint8Array(data.buffer).set(bytes); // a copy: it is aligned, and outlives the chunk
    return { datatype, shape, data };
  }
}

function texts(bytes: Buffer, count: number): string[] {
  const reader = new Reader(bytes);
  const list: string[] = [];
  while (!reader.isAtEnd) list.push(reader.take(reader.u32()).toString('utf8'));
  if (list.length !== count) throw new FrameError(`${list.length} strings for ${count}`);
  return list;
}

/** @throws FrameError */
export function decodeRequests(payload: Buffer): WireRequest[] {
  const reader = new Reader(payload);
  const requests: WireRequest[] = [];
  while (!reader.isAtEnd) {
    const [id, timeoutMs, rows] = [reader.u32(), reader.f32(), reader.u32()];
    requests.push({ id, timeoutMs, rows, inputs: reader.tensors() });
  }
  return requests;
}

/** @throws FrameError */
export function decodeResults(payload: Buffer): WireResult[] {
  const reader = new Reader(payload);
  const results: WireResult[] = [];
  while (!reader.isAtEnd) {
    const [id, servedMs, failed] = [reader.u32(), reader.f32(), reader.u8()];
    const result = failed ? errorOf(json(reader.take(reader.u32()))) : { outputs: reader.tensors() };
    results.push({ id, servedMs, result });
  }
  return results;
}

function errorOf(value: unknown): { code: string; message: string } {
  const { code, message } = (value ?? {}) as { code?: unknown; message?: unknown };
  return { code: String(code), message: String(message) };
}

/** @throws FrameError */
export function decodeHello(payload: Buffer): Hello {
  const hello = json(payload) as Partial<Hello> | null;
  if (hello?.protocol !== protocolVersion) {
    throw new FrameError(`it speaks version ${hello?.protocol} of the protocol, not ${protocolVersion}`);
  }
  if (typeof hello.version !== 'string' || !areInfos(hello.inputs) || !areInfos(hello.outputs)) {
    throw new FrameError('a greeting without version, inputs and outputs');
  }
  return hello as Hello;
}

const areInfos = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.every((info: Partial<TensorInfo> | null) => typeof info?.name === 'string' && Array.isArray(info.shape));

function json(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw new FrameError('no JSON', { cause: error });
  }
}
