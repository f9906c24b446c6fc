/** A RabbitMQ 4.3 for tests on a cluster, of the tree that hack/rabbitmq.ts installs. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { missingRabbit, treeOf } from '../rabbitmq.ts';
import type { ImageSource } from './image.ts';

const version = '4.3';
/** What the tree's own processes write, and what a container has of its own. */
const left = [
  './dev/*',
  './proc/*',
  './sys/*',
  './run/*',
  './srv/*',
  './tmp/*',
  './root/*',
  './var/cache/*',
  './var/log/*',
];

const settings = `listeners.tcp.default = 5672
management.tcp.port = 15672
loopback_users = none
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
`;

export const rabbitImage: ImageSource = {
  name: 'levada/rabbitmq',
  config: {
    Cmd: ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
    Env: [
      'PATH=/usr/sbin:/usr/bin:/sbin:/bin',
      'LANG=C.UTF-8',
      'HOME=/tmp',
      'RABBITMQ_NODENAME=rabbit@localhost',
      'RABBITMQ_CONFIG_FILE=/etc/levada/rabbitmq.conf',
      'RABBITMQ_ENABLED_PLUGINS_FILE=/etc/levada/enabled_plugins',
      'RABBITMQ_MNESIA_BASE=/tmp/data',
      'RABBITMQ_LOG_BASE=/tmp/log',
      'RABBITMQ_PID_FILE=/tmp/pid',
    ],
  },
  layers: [
    async () => {
      const missing = await missingRabbit(version);
      if (missing !== undefined) throw new Error(missing);
      return { folder: treeOf(version), flags: left.map((path) => `--exclude=${path}`) };
    },
    async (folder) => {
      await mkdir(join(folder, 'etc/levada'), { recursive: true });
      await writeFile(join(folder, 'etc/levada/rabbitmq.conf'), settings);
      await writeFile(join(folder, 'etc/levada/enabled_plugins'), '[rabbitmq_management].\n');
      return { folder };
    },
  ],
};
