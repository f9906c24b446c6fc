import { Reader } from 'protobufjs/minimal.js';

/** What an ONNX file says of itself; field numbers as in onnx.proto3 (ModelProto, GraphProto, NodeProto). */
export interface OnnxFile {
  irVersion: number;
  producer: string;
  domain: string;
  modelVersion: number;
  description: string;
  /** Version by operator set; `ai.onnx` is the default one. */
  opsets: Record<string, number>;
  /** How many nodes of each operator. */
  operators: Record<string, number>;
  metadata: Record<string, string>;
}

/**
 * Whether tensors of the model are in other files, which ONNX Runtime would read from the working directory: those are
 * covered by no digest.
 *
 * @throws Error where the bytes are not a protobuf message
 */
export function hasExternalData(bytes: Uint8Array): boolean {
  return tensorsOutside(bytes, modelFields);
}

type Kind = 'graph' | 'node' | 'attribute' | 'tensor' | 'sparse' | 'function' | 'training';
/** Which fields of a message hold messages that may hold tensors; `outside` is TensorProto.external_data. */
const nested: Record<Kind, Record<number, Kind | 'outside'>> = {
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  function: { 7: 'node', 11: 'attribute' },
  training: { 1: 'graph', 2: 'graph' },
  tensor: { 13: 'outside' },
};
const modelFields: Record<number, Kind> = { 7: 'graph', 20: 'training', 25: 'function' };

/** As deep as the file nests messages; ONNX Runtime's own reader gives up at 100. */
function tensorsOutside(bytes: Uint8Array, fields: Record<number, Kind | 'outside'>, depth = 0): boolean {
  if (depth > 200) return true;
  const reader = Reader.create(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const kind = fields[tag >>> 3];
    if (kind === 'outside') return true;
    if (kind === undefined || (tag & 7) !== 2) reader.skipType(tag & 7);
    else if (tensorsOutside(reader.bytes(), nested[kind], depth + 1)) return true;
  }
  return false;
}

type Fields = Record<number, (reader: Reader) => void>;

/** @throws Error where the bytes are not a protobuf message */
export function readOnnxFile(bytes: Uint8Array): OnnxFile {
  const file: OnnxFile = {
    irVersion: 0,
    producer: '',
    domain: '',
    modelVersion: 0,
    description: '',
    opsets: {},
    operators: {},
    metadata: {},
  };
  let producerVersion = '';
  read(bytes, {
    1: (r) => (file.irVersion = Number(r.int64())),
    2: (r) => (file.producer = r.string()),
    3: (r) => (producerVersion = r.string()),
    4: (r) => (file.domain = r.string()),
    5: (r) => (file.modelVersion = Number(r.int64())),
    6: (r) => (file.description = r.string()),
    7: (r) => readGraph(r.bytes(), file.operators),
    8: (r) => {
      let [domain, version] = ['', 0];
      read(r.bytes(), { 1: (f) => (domain = f.string()), 2: (f) => (version = Number(f.int64())) });
      file.opsets[domain || 'ai.onnx'] = version;
    },
    14: (r) => {
      let [key, value] = ['', ''];
      read(r.bytes(), { 1: (f) => (key = f.string()), 2: (f) => (value = f.string()) });
      file.metadata[key] = value;
    },
  });
  if (producerVersion) file.producer += ` ${producerVersion}`;
  return file;
}

function readGraph(bytes: Uint8Array, operators: OnnxFile['operators']): void {
  read(bytes, {
    1: (r) => {
      let [type, domain] = ['', ''];
      read(r.bytes(), { 4: (f) => (type = f.string()), 7: (f) => (domain = f.string()) });
      const name = domain && domain !== 'ai.onnx' ? `${domain}.${type}` : type;
      operators[name] = (operators[name] ?? 0) + 1;
    },
  });
}

function read(bytes: Uint8Array, fields: Fields): void {
  const reader = Reader.create(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    const field = fields[tag >>> 3];
    if (field) field(reader);
    else reader.skipType(tag & 7);
  }
}
