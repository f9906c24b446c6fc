import { Command, InvalidArgumentError } from 'commander';
import { errorCodeOf, LevadaError, messageOf } from '../api/errors.ts';
import { type RabbitSettings, settingsFromUri } from '../brokers/rabbitmq/settings.ts';
import { loadPaths } from '../operator/source/load.ts';
import { exitCodes, printError, printNote, problemLine, summaryOf } from './output.ts';
import { UpRun } from './up/run.ts';

interface Flags {
  broker?: RabbitSettings;
  port: Record<string, number>;
  replicas: boolean;
}

export function upCommand(): Command {
  return new Command('up')
    .summary('run resources on this machine')
    .description(
      'Runs resources here, without a cluster, and goes on until Ctrl-C. Edits to the files are taken up while it runs;\n' +
        'an edit with a mistake leaves everything as it is. levada.local.yaml beside a PATH says what only a laptop needs.',
    )
    .argument('<path...>', 'files or folders with resources')
    .option('--port <name=port>', 'fix the port of a service, e.g. iris=8000 (repeatable)', collectPort, {})
    .option(
      '--broker <url>',
      'carry events over RabbitMQ, e.g. amqp://127.0.0.1:5672 (or LEVADA_BROKER_URL)',
      brokerFlag,
    )
    .option('--replicas', 'start as many processes of a version as spec.replicas says', false)
    .addHelpText(
      'after',
      `
Example:
  levada up examples/iris --port iris=8000
  curl -d '{"features":[5.1,3.5,1.4,0.2]}' http://127.0.0.1:8000/predict

Exit codes: 0 ended by Ctrl-C, 1 the resources have problems, 2 wrong usage or a --port that is in use.`,
    )
    .action(async (paths: string[], flags: Flags) => {
      const loaded = await loadPaths(paths);
      if (loaded.problems.length > 0) {
        for (const problem of loaded.problems) printNote(problemLine(problem));
        printNote(summaryOf(loaded.problems));
        process.exitCode = exitCodes.no;
        return;
      }
      try {
        const run = await UpRun.start(loaded, {
          paths,
          ports: flags.port,
          replicas: flags.replicas,
          ...brokerOf(flags),
          stdout: process.stdout,
        });
        endOnSignals(run);
      } catch (error) {
        printError(error);
        if (errorCodeOf(error) === 'PortBusy') process.exitCode = exitCodes.usage;
      }
    });
}

/** The first Ctrl-C drains; the second one does not wait. */
export function endOnSignals(run: UpRun): void {
  let asked = false;
  const end = () => {
    if (asked) {
      run.kill();
      process.exit(exitCodes.no);
    }
    asked = true;
    run.line('draining; Ctrl-C again ends it at once');
    run.stop().then(
      () => process.exit(exitCodes.ok),
      (error: unknown) => {
        printError(error);
        process.exit(exitCodes.no);
      },
    );
  };
  process.on('SIGINT', end);
  process.on('SIGTERM', end);
}

/** Everybody can read the arguments of a process: a password does not belong there, nor does an error repeat it. */
function brokerFlag(value: string): RabbitSettings {
  if (/^amqps?:\/\/[^/]*@/.test(value)) {
    throw new LevadaError('Usage', { detail: '--broker: found a user or password; set LEVADA_BROKER_URL instead' });
  }
  try {
    return settingsFromUri(value, '--broker');
  } catch (error) {
    throw new LevadaError('Usage', { detail: messageOf(error) });
  }
}

/** @throws LevadaError SecretInvalid */
function brokerOf({ broker }: Flags): { broker?: RabbitSettings } {
  const url = process.env['LEVADA_BROKER_URL'];
  if (broker) return { broker };
  return url ? { broker: settingsFromUri(url, 'LEVADA_BROKER_URL') } : {};
}

function collectPort(value: string, all: Record<string, number>): Record<string, number> {
  const [, name, digits] = /^([a-z][-a-z0-9]*)=([0-9]{1,5})$/.exec(value) ?? [];
  const port = Number(digits);
  if (name === undefined || port < 1 || port > 65_535) {
    throw new InvalidArgumentError(`found ${value}; allowed: NAME=PORT, the port 1 to 65535, e.g. iris=8000`);
  }
  return { ...all, [name]: port };
}
