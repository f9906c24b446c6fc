/**
 * The data plane: one process serves one unit, which its configuration file describes.
 *
 *     node runtime/main.ts --config unit.json
 *
 * On a cluster it listens on the ports of the configuration. A model server that `levada up` started has an IPC channel
 * instead, and gets its listening sockets through that.
 */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { drainTimeoutMs, lingerMs, type ModelServerConfig } from '../api/contract/model-server.ts';
import type { PipelineUnitConfig } from '../api/contract/pipeline-unit.ts';
import { LevadaError } from '../api/errors.ts';
import { show } from '../api/rules.ts';

const { values } = parseArgs({
  options: {
    config: { type: 'string', default: 'unit.json' },
    /** After SIGTERM requests are taken for so long: that the pod is leaving gets about only after a moment. */
    'linger-ms': { type: 'string', default: String(lingerMs) },
    /** What is in hand is given up after this time. */
    'drain-timeout-ms': { type: 'string', default: String(drainTimeoutMs) },
    /** Of a model server. After a crash: be there and answer, but load what may have caused it only later. */
    'load-after-ms': { type: 'string', default: '0' },
    /** The process ends when loading, or one run, takes longer: nothing else stops a model that never ends. */
    'load-timeout-ms': { type: 'string' },
    'run-timeout-ms': { type: 'string' },
    /** On a cluster: the first pause before a file that is not there, or is another one, is looked at again. */
    'look-again-ms': { type: 'string', default: '5000' },
  },
});
const config = JSON.parse(await readFile(values.config, 'utf8')) as ModelServerConfig | PipelineUnitConfig; // checked by who wrote it
const ms = (text: string | undefined) => (text === undefined ? undefined : Number(text));
const ending = { lingerMs: Number(values['linger-ms']), drainMs: Number(values['drain-timeout-ms']) };

// Only what is needed is loaded: a pod that starts quickly takes over quickly.
switch (config.kind) {
  case 'model-server': {
    const { runModelServer } = await import('./inference/process.ts');
    await runModelServer(config, {
      ...ending,
      loadAfterMs: Number(values['load-after-ms']),
      loadMs: ms(values['load-timeout-ms']),
      runMs: ms(values['run-timeout-ms']),
      lookAgainMs: Number(values['look-again-ms']),
    });
    break;
  }
  case 'pipeline': {
    const { runPipelineUnit } = await import('./pipeline/process.ts');
    await runPipelineUnit(config, ending);
    break;
  }
  default:
    throw new LevadaError('InvalidValue', {
      found: show((config as { kind?: unknown }).kind),
      allowed: 'a configuration whose kind is model-server or pipeline',
    });
}
