import { describe, expect, it } from 'vitest';
import { LimitExceeded } from './meter.ts';
import { BadPicture, checkDatePicture, checkNumberOptions, checkParsedPicture } from './pictures.ts';

describe('pictures of dates', () => {
  it.each([
    undefined,
    '',
    '[Y0001]-[M01]-[D01]T[H01]:[m01]:[s01].[f001][Z01:01t]',
    '[Y,2-4] [MNn,3-3] [D1o]',
    '[[literal]] [Y]',
    '[Yw] [W,*-2]',
    '[ Y0001 ]',
  ])('%j can be written', (picture) => {
    expect(() => checkDatePicture(picture)).not.toThrow();
  });

  it.each(['[Y,*-100000000]', '[Y,0x7fffffff]', '[Y,100]', '[Y, 1 0 0 ]', '[Y,1e9]', '[Y', '[M01,-1000]'])(
    '%j cannot',
    (picture) => {
      expect(() => checkDatePicture(picture)).toThrow(BadPicture);
    },
  );

  it.each([
    '[Y0001]-[M01]-[D01]',
    '[D1] [MNn] [Y0001]',
    '[Y0001][M01][D01]',
    '[H]:[m]:[s] [PN]',
    '[Y][Z]',
    '[FNn], [D]',
  ])('%j can be read', (picture) => {
    expect(() => checkParsedPicture(picture)).not.toThrow();
  });

  it.each([
    ['[FNn][MNn]', 'has "[MNn]" without a separator'],
    ['[MNn]th [Y]', 'has "th " without a separator'],
    ['[Y]1[M]1[D]', 'has "1" without a separator'],
    ['[Z][Y]', 'has "[Y]" without a separator'],
    ['[MI][DI]', 'has "[DI]" without a separator'],
    ['[Dw] [Y]', 'numbers as words can only be written'],
  ])('%j cannot be read', (picture, reason) => {
    expect(() => checkParsedPicture(picture)).toThrow(reason);
  });

  it('bounds their length', () => {
    expect(() => checkDatePicture('x'.repeat(257))).toThrow(LimitExceeded);
  });
});

describe('options of numbers', () => {
  it('are one or more characters', () => {
    expect(() => checkNumberOptions({ 'decimal-separator': ',', infinity: 'unendlich' })).not.toThrow();
    for (const value of ['', 5, null, 'x'.repeat(17)]) {
      expect(() => checkNumberOptions({ 'grouping-separator': value })).toThrow(BadPicture);
    }
  });
});
