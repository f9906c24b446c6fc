import { define } from './definition.ts';

export const modelErrors = define({
  ArtifactNotFound: {
    outcome: 'wait',
    message: 'no model at {path}: {detail}',
    remedy: 'Put the file there, or correct `uri`. On a laptop `mounts` in levada.local.yaml says where a path is.',
  },
  ArtifactDenied: {
    outcome: 'wait',
    message: '{path} may not be read: {detail}',
    remedy: 'Correct the credentials in the Secret that `secretRef` names, or grant them the right to read it.',
  },
  ArtifactUnavailable: {
    outcome: 'retry',
    message: '{path} cannot be fetched: {detail}',
    remedy: 'It is tried again by itself. Look for the server, and for what is between it and the pod.',
  },
  SourceInvalid: {
    outcome: 'wait',
    message: '{path} is not answered with a file: {detail}',
    remedy: 'Correct `uri`, or the settings in the Secret that `secretRef` names.',
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
