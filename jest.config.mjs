export default {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/__test__/**/*.spec.mjs'],
  transform: {},
  // Copies of package.json in target/ and in temporary folders are none of Jest's business.
  modulePathIgnorePatterns: ['<rootDir>/target/', '<rootDir>/npm/'],
  maxWorkers: 2,
  testTimeout: 120_000,
};
