import { Command, CommanderError } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { cacheCompiled } from './compiled.ts';

cacheCompiled();
const { exitCodes, printError } = await import('./output.ts');

/** Every command, one a file, which is loaded when it is asked for: `get` has no use for what `up` needs. */
const commands: Readonly<Record<string, (() => Promise<Command>) | undefined>> = {
  up: async () => (await import('./up.ts')).upCommand(),
  plan: async () => (await import('./plan.ts')).planCommand(),
  validate: async () => (await import('./validate.ts')).validateCommand(),
  get: async () => (await import('./get.ts')).getCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  rollout: async () => (await import('./rollout.ts')).rolloutCommand(),
  dlq: async () => (await import('./dlq.ts')).dlqCommand(),
  model: async () => (await import('./model.ts')).modelCommand(),
};
const [asked = ''] = process.argv.slice(2);
// Anything else, --help for one, is about all of them.
const loaded = Object.hasOwn(commands, asked) ? [commands[asked]] : Object.values(commands);

const program = new Command('levada')
  .description('Event pipelines and model serving, on Kubernetes and on this machine, from the same files.')
  .version(packageJson.version)
  .addHelpText('after', '\nExample:\n  levada up examples/iris')
  .configureHelp({ showGlobalOptions: false });
for (const load of loaded) if (load) program.addCommand(await load());
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
