import { Command, CommanderError } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { dlqCommand } from './dlq.ts';
import { getCommand } from './get.ts';
import { modelCommand } from './model.ts';
import { exitCodes, printError } from './output.ts';
import { planCommand } from './plan.ts';
import { statusCommand } from './status.ts';
import { upCommand } from './up.ts';
import { validateCommand } from './validate.ts';

/** Every command, one a file. */
const commands = [upCommand, planCommand, validateCommand, getCommand, statusCommand, dlqCommand, modelCommand];

const program = new Command('levada')
  .description('Event pipelines and model serving, on Kubernetes and on this machine, from the same files.')
  .version(packageJson.version)
  .addHelpText('after', '\nExample:\n  levada up examples/iris')
  .configureHelp({ showGlobalOptions: false });
for (const command of commands) program.addCommand(command());
for (const command of withChildren(program))
  command.exitOverride().showHelpAfterError('(--help shows what is allowed)');

try {
  await program.parseAsync();
} catch (error) {
  // Commander has printed what is wrong; help and --version end with 0.
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  else printError(error);
}

function withChildren(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withChildren)];
}
