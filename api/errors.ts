/**
 * Every error that Levada reports, with its code. A code is also the `reason` of a condition and the value of
 * `x-levada-error` on the wire, so codes are CamelCase and never change their meaning.
 *
 * The outcome says what happens next, wherever the error appears:
 * - `terminal`: trying again cannot help until a person changes something;
 * - `wait`: something that Levada watches must happen first, then it goes on by itself;
 * - `retry`: trying again may help, with backoff.
 */
export type Outcome = 'terminal' | 'wait' | 'retry';

interface ErrorDefinition {
  readonly outcome: Outcome;
  /** `{name}` is replaced by the parameter of that name. */
  readonly message: string;
  /** What the reader does about it. Goes to docs/reference/errors.md. */
  readonly remedy: string;
  /** Status on the wire, where the error can be a response. */
  readonly http?: number;
}

const define = <const T extends Record<string, ErrorDefinition>>(definitions: T): T => definitions;

const resourceErrors = define({
  FileNotFound: {
    outcome: 'terminal',
    message: '{path}: {detail}',
    remedy: 'Name a YAML file or a folder that holds some.',
  },
  YamlSyntax: {
    outcome: 'terminal',
    message: 'not valid YAML: {detail}',
    remedy: 'Mend the syntax at the line that is named.',
  },
  YamlDuplicateKey: {
    outcome: 'terminal',
    message: 'a key appears twice: {detail}',
    remedy: 'Keep one of them. kubectl would silently take the last.',
  },
  YamlAliasLimit: {
    outcome: 'terminal',
    message: 'too many aliases: {detail}',
    remedy: 'Write the values out. Aliases that multiply are refused because they exhaust memory.',
  },
  DocumentTooLarge: {
    outcome: 'terminal',
    message: 'the file has {size} bytes; at most {limit} are read',
    remedy: 'Split the file. The API server refuses objects above 1.5 MiB as well.',
  },
  NotAResource: {
    outcome: 'terminal',
    message: '{detail}',
    remedy: 'Give every document `apiVersion`, `kind` and `metadata.name`.',
  },
  UnknownKind: {
    outcome: 'terminal',
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Correct `apiVersion` and `kind`. Other kinds belong in files that Levada is not pointed at.',
  },
  UnknownField: {
    outcome: 'terminal',
    message: 'unknown field `{field}`; allowed: {allowed}',
    remedy: 'Correct the spelling, or remove it. No field is accepted and ignored.',
  },
  MissingField: {
    outcome: 'terminal',
    message: 'required, but missing',
    remedy: 'Add the field; docs/reference has its description.',
  },
  InvalidType: {
    outcome: 'terminal',
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Write a value of the allowed type. Quote strings that YAML 1.1 reads as booleans (yes, no, on, off).',
  },
  InvalidValue: {
    outcome: 'terminal',
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Write a value inside the stated bounds.',
  },
  TooManyMembers: {
    outcome: 'terminal',
    message: 'found {found}; allowed: at most one of {allowed}',
    remedy: 'Keep one of the members.',
  },
  DuplicateName: {
    outcome: 'terminal',
    message: 'the name {found} is used twice; allowed: names that differ',
    remedy: 'Rename one of them.',
  },
  NameConflict: {
    outcome: 'terminal',
    message: '{found} would make the Service {service}, which {other} makes already',
    remedy: 'Rename one of the two. Services of one namespace share their names.',
  },
  ServeRequired: {
    outcome: 'terminal',
    message: 'required when there is more than one version; allowed: {allowed}',
    remedy: 'Say which version takes the traffic.',
  },
  ServeUnknown: {
    outcome: 'terminal',
    message: 'found {found}; allowed: a version that is declared ({allowed})',
    remedy: 'Name a declared version, or declare it.',
  },
  VersionImmutable: {
    outcome: 'terminal',
    message: 'version {version} was declared with other content ({field} was {was}, now {found})',
    remedy: 'Give the new content a new version name; Git then holds the way back.',
  },
});

const modelErrors = define({
  ArtifactNotFound: {
    outcome: 'wait',
    message: 'no model at {path}: {detail}',
    remedy: 'Put the file there, or correct `uri`. On a laptop `mounts` in levada.local.yaml says where a path is.',
  },
  ArtifactTooLarge: {
    outcome: 'terminal',
    message: '{path} has {size} bytes; at most {limit} are loaded',
    remedy: 'An ONNX file is limited to 2 GiB by its format. Quantise or prune the model.',
  },
  ArtifactChanged: {
    outcome: 'wait',
    message: '{path} is not the artifact that this version was resolved to: found sha256 {found}, resolved {resolved}',
    remedy: 'Put the old file back, or declare the new one as a new version. What runs goes on running.',
  },
  DigestMismatch: {
    outcome: 'wait',
    message: '{path} has sha256 {found}; the version allows only {allowed}',
    remedy: 'Correct `sha256`, or put the right file in place.',
  },
  PickleRefused: {
    outcome: 'terminal',
    message: '{path} is a pickle; only ONNX is loaded. Convert it: levada model convert {path} --trust',
    remedy: 'Run the command. Unpickling runs code from the file, so servers never do it.',
  },
  ModelInvalid: {
    outcome: 'terminal',
    message: '{path} is not a model that ONNX Runtime loads: {detail}',
    remedy: 'Export the model again; `levada model inspect FILE` shows what the file holds.',
  },
  ModelUnsupported: {
    outcome: 'terminal',
    message: '{path} cannot be served: {detail}',
    remedy: 'Export the model again as the message says.',
  },
  ModelWarmUpFailed: {
    outcome: 'terminal',
    message: '{path} loads, but every run fails: {detail}',
    remedy: 'Export the model again; `levada model check FILE --cases CASES` runs it on inputs of yours.',
  },
  ModelLoadTimeout: {
    outcome: 'retry',
    message: '{path} was not ready after {seconds} s',
    remedy: 'Look for endless loops in the graph, or give the process more CPU.',
  },
  ModelCrashed: {
    outcome: 'retry',
    message: 'the process of {unit} died ({detail}), {count} in a row; next try {next}',
    remedy: 'The message has the signal or exit code. A file that kills the process each time wants a new export.',
  },
  ClassNamesInvalid: {
    outcome: 'wait',
    message: '{path}: {detail}',
    remedy: 'Give one class name a line, UTF-8, at most 10,000 lines.',
  },
});

const wireErrors = define({
  InvalidJson: { outcome: 'terminal', http: 400, message: 'the body is not JSON: {detail}', remedy: 'Send JSON.' },
  InvalidInput: {
    outcome: 'terminal',
    http: 400,
    message: '{field}: found {found}; allowed: {allowed}',
    remedy: 'Correct the field that is named.',
  },
  WrongShape: {
    outcome: 'terminal',
    http: 400,
    message: '{field}: found shape {found}; allowed: {allowed}',
    remedy: 'GET /v2/models/NAME shows the shapes; -1 is free.',
  },
  WrongDatatype: {
    outcome: 'terminal',
    http: 400,
    message: '{field}: found {found}; allowed: {allowed}',
    remedy: 'GET /v2/models/NAME shows the datatypes.',
  },
  UnknownInput: {
    outcome: 'terminal',
    http: 400,
    message: '{field}: the model has no input {found}; allowed: {allowed}',
    remedy: 'GET /v2/models/NAME shows the inputs.',
  },
  MissingInput: {
    outcome: 'terminal',
    http: 400,
    message: 'inputs: {found} is missing; the model needs: {allowed}',
    remedy: 'Send every input of the model, once.',
  },
  UnknownOutput: {
    outcome: 'terminal',
    http: 400,
    message: '{field}: the model has no output {found}; allowed: {allowed}',
    remedy: 'GET /v2/models/NAME shows the outputs.',
  },
  UnsupportedMediaType: {
    outcome: 'terminal',
    http: 415,
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Send JSON, uncompressed.',
  },
  BodyTooLarge: {
    outcome: 'terminal',
    http: 413,
    message: 'the body has {found} bytes; at most {limit} are read',
    remedy: 'Send fewer rows at once.',
  },
  RouteNotFound: {
    outcome: 'terminal',
    http: 404,
    message: 'no such path: {found}; allowed: {allowed}',
    remedy: 'GET /v2 and docs/guides/serving.md list the paths.',
  },
  MethodNotAllowed: {
    outcome: 'terminal',
    http: 405,
    message: 'found {found}; allowed: {allowed}',
    remedy: 'Use the method that the path allows.',
  },
  UnknownModel: {
    outcome: 'terminal',
    http: 404,
    message: 'no model {found} here; this is {allowed}',
    remedy: 'Correct the name in the path.',
  },
  UnknownVersion: {
    outcome: 'terminal',
    http: 404,
    message: 'no version {found} of {model} here; this is {allowed}',
    remedy: 'Call the Service of that version (MODEL-VERSION), or leave the version out.',
  },
  ModelNotReady: {
    outcome: 'retry',
    http: 503,
    message: 'the model is not ready: {detail}',
    remedy: 'Try again after Retry-After. `levada status NAME` says what is wrong.',
  },
  QueueFull: {
    outcome: 'retry',
    http: 429,
    message: '{found} rows are waiting; at most {limit} do',
    remedy: 'Send more slowly, or give the model more replicas.',
  },
  MemoryBudget: {
    outcome: 'retry',
    http: 503,
    message: 'request bodies of {found} bytes are being read; at most {limit} are',
    remedy: 'Send fewer large requests at once.',
  },
  DeadlineExceeded: {
    outcome: 'retry',
    http: 504,
    message: 'no answer within {found} ms',
    remedy: 'Allow more time with x-request-timeout-ms, or give the model more replicas.',
  },
  InferenceFailed: {
    outcome: 'terminal',
    http: 500,
    message: 'the model failed on this input: {detail}',
    remedy: 'The model has thrown; `levada model check` reproduces it on a laptop.',
  },
  OutputNotFinite: {
    outcome: 'terminal',
    http: 500,
    message: 'output {field} is {found} at index {index}, which JSON cannot hold',
    remedy: 'Ask for other `outputs`, or mend the model.',
  },
  SimpleApiUnsupported: {
    outcome: 'terminal',
    http: 501,
    message: 'POST /predict cannot serve this model: {detail}',
    remedy: 'Use POST /v2/models/NAME/infer.',
  },
  InternalError: {
    outcome: 'retry',
    http: 500,
    message: 'an error inside Levada: {detail}',
    remedy: 'This is a bug. The log has the stack; please report it.',
  },
});

const toolErrors = define({
  Usage: { outcome: 'terminal', message: '{detail}', remedy: '`levada COMMAND --help` shows what is allowed.' },
  NoRun: {
    outcome: 'terminal',
    message: 'nothing runs here: {detail}',
    remedy: 'Start `levada up PATH` in this folder, or go to the folder where it runs.',
  },
  AlreadyRunning: {
    outcome: 'terminal',
    message: 'process {pid} runs resources from this folder already',
    remedy: 'Stop it, or use another folder.',
  },
  UnknownResource: {
    outcome: 'terminal',
    message: 'no resource {found}; allowed: {allowed}',
    remedy: '`levada get` lists what runs.',
  },
  PortBusy: {
    outcome: 'terminal',
    message: 'port {port} for {service} cannot be used: {detail}',
    remedy: 'Choose another with --port NAME=PORT, or stop what holds it.',
  },
  LocalFileInvalid: {
    outcome: 'terminal',
    message: '{detail}',
    remedy: 'docs/guides/local.md describes levada.local.yaml.',
  },
  CasesInvalid: {
    outcome: 'terminal',
    message: '{path}: {detail}',
    remedy: 'docs/guides/models.md shows the format of a cases file.',
  },
  PythonNotFound: {
    outcome: 'terminal',
    message: 'no usable Python: {detail}',
    remedy: 'Install Python 3.10 or newer, or set LEVADA_PYTHON.',
  },
  PythonEnvironmentFailed: {
    outcome: 'retry',
    message: 'the Python environment could not be made: {detail}',
    remedy: 'Read the end of the output; mend the network or the disk, and run the command again.',
  },
  PickleUntrusted: {
    outcome: 'terminal',
    message: '{path}: unpickling runs whatever code the file holds',
    remedy: 'Pass --trust if you made the file or trust who did.',
  },
  ConversionUnsupported: {
    outcome: 'terminal',
    message: '{path} cannot be converted: {detail}',
    remedy: 'Export to ONNX from the framework itself, then serve that.',
  },
  ConversionDisagrees: {
    outcome: 'terminal',
    message: '{path}: the ONNX model and scikit-learn disagree: {detail}',
    remedy: 'Nothing was written. Cast to float32 before training, or report the estimator.',
  },
  OutputExists: {
    outcome: 'terminal',
    message: '{path} exists',
    remedy: 'Pass --force to replace it, or name another with --output.',
  },
});

export const errorGroups = {
  resources: { title: 'Resources and files', errors: resourceErrors },
  models: { title: 'Models', errors: modelErrors },
  wire: { title: 'On the wire', errors: wireErrors },
  tools: { title: 'Commands', errors: toolErrors },
} as const;

export type ErrorCode =
  | keyof typeof resourceErrors
  | keyof typeof modelErrors
  | keyof typeof wireErrors
  | keyof typeof toolErrors;
export const errors: Readonly<Record<ErrorCode, ErrorDefinition>> = {
  ...resourceErrors,
  ...modelErrors,
  ...wireErrors,
  ...toolErrors,
};
export type ErrorParams = Readonly<Record<string, string | number>>;

/** The message of `code` with its `{placeholders}` filled in. A parameter that is not given stays visible as `{name}`. */
export function errorMessage(code: ErrorCode, params: ErrorParams = {}): string {
  return errors[code].message.replace(/\{(\w+)\}/g, (whole, name: string) => String(params[name] ?? whole));
}

/** An error with a registered code. Test by `code` (see {@link errorCodeOf}): `instanceof` fails across processes. */
export class LevadaError extends Error {
  readonly code: ErrorCode;
  readonly params: ErrorParams;
  constructor(code: ErrorCode, params: ErrorParams = {}, options?: ErrorOptions) {
    super(errorMessage(code, params), options);
    this.name = 'LevadaError';
    this.code = code;
    this.params = params;
  }
}

/** The registered code that `error` carries, if it carries one. */
export function errorCodeOf(error: unknown): ErrorCode | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && Object.hasOwn(errors, code) ? (code as ErrorCode) : undefined;
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** One mistake in a resource: a value, so that all of them are reported at once. */
export interface Problem {
  readonly code: ErrorCode;
  /** Field path as kubectl prints it: `spec.versions[0].uri`. Empty: the whole document. */
  readonly path: string;
  readonly message: string;
}

export function problem(code: ErrorCode, path: string, params: ErrorParams = {}): Problem {
  return { code, path, message: errorMessage(code, params) };
}
