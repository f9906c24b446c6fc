// `npm start` and `npm test` on a fresh clone: installs the dependencies once, then runs the rest on the project's own
// Node. Plain JavaScript, for Node 20 and up.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const node = join(root, 'node_modules/node/bin/node');
const stamp = join(root, 'node_modules/.levada-installed');

/** What each command runs, one step after the other. */
const steps = {
  start: [['hack/start.ts']],
  test: [['hack/test.ts']],
  prove: [['hack/prove.ts']],
  sim: [['test/sim/main.ts']],
  rabbitmq: [['hack/rabbitmq.ts']],
  cluster: [['hack/cluster.ts']],
  image: [['hack/image.ts']],
  e2e: [['hack/test.ts', '--project=e2e']],
};

function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', ...options });
    // Ctrl-C reaches the whole group; what was started decides when it has ended.
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => signal === 'SIGTERM' && child.kill(signal));
    child.on('error', (error) => {
      console.error(`${command} could not be started: ${error.message}`);
      resolve(1);
    });
    child.on('exit', (code, signal) => resolve(signal ? 1 : (code ?? 1)));
  });
}

async function install() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  if (existsSync(node) && existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  const [major] = process.versions.node.split('.').map(Number);
  if (major < 20) {
    console.error(`Node ${process.versions.node} is too old to install the dependencies; 20 or newer is needed.`);
    process.exit(1);
  }
  console.log('Installing the dependencies, once: about 600 MB, most of it Node 24 and ONNX Runtime.');
  const start = Date.now();
  const timer = setInterval(() => console.log(`  … ${Math.round((Date.now() - start) / 1000)} s`), 5000);
  // npm tells about engines and unknown settings by the dozen; errors still come through.
  const env = { ...process.env, npm_config_loglevel: 'error', npm_config_engine_strict: 'false' };
  // onnxruntime-node's script would fetch CUDA libraries; the CPU's are in the package. (Newer npm: allowScripts.)
  env.ONNXRUNTIME_NODE_INSTALL = 'skip';
  const code = await run('npm', ['ci', '--include=dev', '--no-fund', '--no-audit'], { env });
  clearInterval(timer);
  if (code !== 0) process.exit(code);
  writeFileSync(stamp, lock);
  console.log(`Installed in ${Math.round((Date.now() - start) / 1000)} s.`);
}

const [name, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(steps, name)) {
  console.error(`usage: node hack/launch.mjs ${Object.keys(steps).join('|')}`);
  process.exit(2);
}
await install();
for (const step of steps[name]) {
  const code = await run(node, [...step, ...rest]);
  if (code !== 0) process.exit(code);
}
