import { errorMessage } from '../../../api/errors.ts';
import { driverConformance } from '../conformance.ts';
import { memoryDriver } from './driver.ts';

const failure = (path: string) => ({
  code: 'ModelInvalid',
  message: errorMessage('ModelInvalid', { path, detail: 'it says so' }),
});

driverConformance(
  'memory',
  async () => {
    const driver = memoryDriver((path) => (path === '/bad' ? failure(path) : undefined));
    return {
      driver,
      good: '/good',
      bad: '/bad',
      badCode: 'ModelInvalid',
      pids: () => [],
      close: () => driver.close(),
    };
  },
  { processes: 'it has none', confirmation: 'there is no process that could confirm' },
);
