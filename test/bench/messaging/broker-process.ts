/** `node broker-process.ts VERSION`: a broker with one scheduler, for as long as stdin is open. Prints `BROKER URI`. */
import { type RabbitVersion, startRabbit } from '../../../hack/rabbitmq.ts';

// Ctrl-C reaches this process, too: the benchmark's end is what ends it.
process.on('SIGINT', () => {});
const parentGone = new Promise<void>((resolve) => {
  process.stdin.once('close', resolve).resume();
});
const broker = await startRabbit(process.argv[2] as RabbitVersion, { erlang: '+S 1' });
console.log(`BROKER ${broker.uri}`);
await parentGone;
await broker.remove();
