import { fileURLToPath } from 'node:url';
import type { Launch } from '../process.ts';

const clients = {
  fill: new URL('./clients/fill.ts', import.meta.url),
  'drain-amqplib': new URL('./clients/drain-amqplib.ts', import.meta.url),
  'drain-levada': new URL('./clients/drain-levada.ts', import.meta.url),
  'drain-rabbitmq-client': new URL('./clients/drain-rabbitmq-client.ts', import.meta.url),
  'publish-levada': new URL('./clients/publish-levada.ts', import.meta.url),
  'latency-amqplib': new URL('./clients/latency-amqplib.ts', import.meta.url),
  'latency-levada': new URL('./clients/latency-levada.ts', import.meta.url),
};

/** One of our programs in `clients/`. */
export const node = (client: keyof typeof clients, options: Record<string, string | number>): Launch => ({
  command: process.execPath,
  args: [
    fileURLToPath(clients[client]),
    ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
  ],
});
