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
