import { define } from './definition.ts';

export const toolErrors = define({
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
  ServiceFailed: {
    outcome: 'wait',
    message: 'service {service} does not run: {detail}',
    remedy:
      'Look into its lines; correct `services` in levada.local.yaml. It is started again by itself, later and later.',
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
