import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const include = '{api,brokers,operator,runtime,cli,hack,test}/**/*.test.ts';
/** What needs brokers, which are started once for all of it. */
const withRabbit = '**/*.rabbitmq.test.ts';
/** What needs an API server, likewise. */
const withCluster = '**/*.cluster.test.ts';
/** What needs a whole cluster, which is made for it: only when asked for (hack/test.ts). */
const withNode = '**/*.e2e.test.ts';
const e2e = { all: withNode, smoke: '**/iris.e2e.test.ts' }[process.env['LEVADA_E2E'] ?? ''];

/** What takes half a minute or more, the longest first. A fresh clone knows no durations. */
const long = [
  'operator/pipelines.rabbitmq.test.ts',
  'cli/convert/convert.test.ts',
  'operator/operator.cluster.test.ts',
  'test/integration/rabbitmq/brokers.rabbitmq.test.ts',
  'cli/python.test.ts',
  'test/chaos/chaos.rabbitmq.test.ts',
  'operator/drivers/local/pipelines.rabbitmq.test.ts',
  'test/integration/rabbitmq/topology.rabbitmq.test.ts',
  'test/integration/rabbitmq/connections.rabbitmq.test.ts',
  'test/integration/failures.test.ts',
  'test/integration/rollout-load.test.ts',
  'test/integration/rabbitmq/messages.rabbitmq.test.ts',
  'runtime/main.test.ts',
  'operator/drivers/kubernetes/driver.cluster.test.ts',
  'test/integration/rollout.test.ts',
  'test/integration/seed/seed.rabbitmq.test.ts',
  'test/chaos/settings.rabbitmq.test.ts',
  'operator/pipelines-killed.rabbitmq.test.ts',
  'runtime/pipeline/process.rabbitmq.test.ts',
  'runtime/routing.test.ts',
  'test/integration/edits.test.ts',
  'test/integration/live-edits.test.ts',
  'test/integration/ledger.test.ts',
  'test/integration/trained.test.ts',
  'cli/cluster-dlq.rabbitmq.test.ts',
  'test/integration/dlq.rabbitmq.test.ts',
  'test/integration/up.test.ts',
  'test/integration/outcomes/sources.test.ts',
  'test/integration/rabbitmq/access.rabbitmq.test.ts',
  'test/integration/switch.test.ts',
  'operator/pipeline-pods.rabbitmq.test.ts',
  'api/language/expression.test.ts',
  'test/integration/outcomes/handlers.test.ts',
  'test/integration/outcomes/resources.test.ts',
  'test/integration/release.test.ts',
  'operator/drivers/local/driver.test.ts',
  'test/integration/pipelines.test.ts',
  'test/integration/shop.rabbitmq.test.ts',
  'runtime/transports/rabbitmq/transport.rabbitmq.test.ts',
  'test/integration/split.test.ts',
];

/** Files of all projects together, so that no worker waits at the end while another one has a long file of the last project. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const index = long.findIndex((name) => moduleId.endsWith(`/${name}`));
      return index < 0 ? long.length : index;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    // Some start processes, train models or compile; a hung one still ends.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    teardownTimeout: 30_000,
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    pool: 'forks',
    projects: [
      {
        extends: true,
        test: {
          name: 'levada',
          include: [include],
          exclude: [withRabbit, withCluster, withNode, '**/node_modules/**'],
        },
      },
      {
        extends: true,
        test: { name: 'rabbitmq', include: [withRabbit], globalSetup: ['test/support/rabbitmq-setup.ts'] },
      },
      {
        extends: true,
        test: { name: 'cluster', include: [withCluster], globalSetup: ['test/support/cluster-setup.ts'] },
      },
      ...(e2e
        ? [
            {
              extends: true as const,
              test: {
                name: 'e2e',
                include: [e2e],
                globalSetup: ['test/e2e/setup.ts'],
                testTimeout: 600_000,
                fileParallelism: false,
              },
            },
          ]
        : []),
    ],
  },
});
